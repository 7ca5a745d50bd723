#!/usr/bin/env bash
# programs_perl.sh - perl under the preload: hashes, regular expressions, sorting, strings that
# grow, and forked workers that talk through pipes, give the same output.
set -u
. "$(dirname "$0")/lib_real.sh"
need "$SO"
get perl-base

cat >"$TMP/work.pl" <<'END'
use strict;
use warnings;
use integer;
my $state = 12345;
sub pick { $state = ($state * 1103515245 + 12345) & 0x7fffffff; return ($state >> 8) % $_[0]; }

# The order of a hash is of chance: everything that is printed is sorted.
sub hashes
{
    my ($count, $sum, %h) = ($_[0], 0);
    push @{$h{'k' . pick($count)}{list}}, $_ for 1 .. $count;
    delete $h{'k' . pick($count)} for 1 .. $count / 2;
    $sum += @{$_->{list}} * $_->{list}[0] for values %h;
    return scalar(keys %h) . " $sum " . join ',', (sort keys %h)[0 .. 9];
}

sub expressions
{
    my ($count, $words, %seen) = ($_[0], '');
    $words .= 'w' . 'ab' x pick(30) . pick(1000) . ' ' for 1 .. $count;
    $seen{length $1}++ while $words =~ /\b(w(?:ab)+)\d/g;
    my $changed = () = ($words =~ s/(\d+)/<$1$1>/gr) =~ /<(\d+)\1>/g;
    my @parts = split /\s+(?=w\d)/, $words;
    return "$changed " . scalar(@parts) . ' ' . join ',', map { "$_:$seen{$_}" } sort keys %seen;
}

sub sorting
{
    my @rows = map { {key => pick(1 << 20), text => chr(97 + pick(26)) x pick(3000)} } 1 .. $_[0];
    @rows = sort { $a->{text} cmp $b->{text} || $a->{key} <=> $b->{key} } @rows;
    my $sum = 0;
    $sum = ($sum * 31 + $rows[$_]{key} + length $rows[$_]{text}) & 0xffffff for 0 .. $#rows;
    return $sum;
}

sub growing
{
    my ($total, @texts) = 0;
    $texts[$_ % 50] .= 'x' x pick(400) for 1 .. $_[0];
    $total += length for @texts;
    @texts = map { pack 'N/a*', $_ } @texts;
    return $total . ' ' . unpack '%32C*', join '', @texts;
}

sub everything
{
    my $scale = shift;
    return join "\n", hashes(20 * $scale), expressions(20 * $scale), sorting(5 * $scale),
        growing(20 * $scale), '';
}

my @workers;
my @parents = map { [$_, 'x' x (3000 + $_)] } 1 .. 2000;
for my $number (1 .. 4) {
    my $pid = open(my $pipe, '-|') // die "fork: $!";
    if (!$pid) {
        $state += $number;
        @parents = grep { $_->[0] % $number } @parents;
        print "worker $number, ", scalar(@parents), "\n", everything(500);
        exit 0;
    }
    push @workers, $pipe;
}
print everything(3000);
for my $pipe (@workers) {
    print while <$pipe>;
    close $pipe or die "a worker failed: $?";
}
END

EXTRA=("PERL5LIB=$(echo "$ROOT"/usr/lib/*/perl-base)")
plain work perl "$TMP/work.pl"
watched work perl "$TMP/work.pl"
same 'perl: the output is the same' work
if (($(grep -c '^worker' "$TMP/work.served.out") == 4)); then
    ok 'perl: all workers spoke'
else
    bad 'perl: all workers spoke' "$TMP/work.served.out"
fi
proof_maps 'perl: it and its workers had the library' work 5
proof 'perl: it and its workers' work 50000 1000
if (($(table work | wc -l) == 5)); then
    ok 'perl: five processes left statistics'
else
    table work >"$TMP/wrong"
    bad 'perl: five processes left statistics' "$TMP/wrong"
fi
finish
