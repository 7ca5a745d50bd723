"""broker_peer.py - clients for the tests of tidepool-broker: well-behaved ones and others.

  lines SOCKET FILE          sends each line as a command, prints it with what was answered
  typed SOCKET               typed lines with quotes; prints each with the bytes that came back
  elements SOCKET WORD...    a command; prints the elements of its reply, one a line
  block SOCKET               XREAD BLOCK in several situations
  rules SOCKET               broken requests, and requests in parts
  slow SOCKET PID            readers that do not read: the server stays small
  ahead SOCKET PID           peers that say all before they read, or never read: so much waits
  names SOCKET               a reply is not changed by what comes behind it
  half SOCKET                peers that say half of something and then nothing
  noise SOCKET PID COUNT     COUNT connections of random bytes: the server stays as it is
  mixed SOCKET               pipelines of appends among other commands, of many at once
  sessions SOCKET            appends by more than two connections
  load SOCKET FILE           appends until the server is gone; FILE: what was acknowledged
  verify SOCKET FILE         all of that is there
  durable SOCKET             acknowledged is durable, for many at once
  library SOCKET             the client library of Debian (python3-redis)
"""
import os
import random
import socket
import sys
import threading
import time


class Peer:
    """A connection, and replies as Python values; errors are strings that begin with -."""

    def __init__(self, path, timeout=60):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(path)
        self.bytes = b''

    def send(self, *words):
        self.socket.sendall(request(*words))

    def more(self):
        got = self.socket.recv(1 << 16)
        if not got:
            raise EOFError
        self.bytes += got

    def line(self):
        while b'\r\n' not in self.bytes:
            self.more()
        line, self.bytes = self.bytes.split(b'\r\n', 1)
        return line.decode('latin1')

    def reply(self):
        line = self.line()
        if line[0] in '+-':
            return line
        number = int(line[1:])
        if line[0] == ':':
            return number
        if number < 0:
            return None
        if line[0] == '*':
            return [self.reply() for _ in range(number)]
        while len(self.bytes) < number + 2:
            self.more()
        text, self.bytes = self.bytes[:number], self.bytes[number + 2:]
        return text.decode('latin1')

    def ask(self, *words):
        self.send(*words)
        return self.reply()

    def rest(self):
        """All until the other side closes."""
        try:
            while True:
                self.more()
        except (EOFError, ConnectionResetError):
            return self.bytes


def request(*words):
    words = [word if isinstance(word, bytes) else str(word).encode('latin1') for word in words]
    return b'*%d\r\n' % len(words) + b''.join(b'$%d\r\n%s\r\n' % (len(w), w) for w in words)


def need(what, *values):
    if not what:
        print('not so:', *values)
        sys.exit(1)


def until(what, *values):
    """Waits for what a server does when it gets a processor."""
    end = time.time() + 100
    while not what():
        need(time.time() < end, *values)
        time.sleep(0.02)


def lines(path, file):
    peer = Peer(path)
    for line in open(file):
        words = [{'{empty}': '', '{blank}': 'a b'}.get(word, word) for word in line.split()]
        print(line.strip(), '=>', repr(peer.ask(*words)))


def typed(path):
    """Each on a connection of its own: an error ends it."""
    ends = [b'"a b"', b"'a b'", b'""', b"''", b'a"b c"', b"a'b'", b'"\\x41\\x00\\n\\r\\t\\b\\a"',
            b'"\\xzz\\x4"', b"'it\\'s \\n'", b'"\\""', b'"a"b', b"'a'b", b'"a', b"'a", b'a"', b'"\\"',
            b"'\\'", b'\\', b'"\\', b'a\\"b"', b'"a"\t', b'"a"\v', b'a\vb', b'a\fb', b'"a" ""',
            b'\r', b'a\rb', b'"a\rb"', b'"\xff"', b'"$6\\r\\nfoobar"']
    for end in ends:
        for tail in (b'\r\n', b'\n', b' \r\n', b'\r\r\n'):
            peer = Peer(path)
            peer.socket.sendall(b'ECHO ' + end + tail)
            peer.socket.shutdown(socket.SHUT_WR)
            print(end + tail, '=>', peer.rest())
    peer = Peer(path)
    peer.socket.sendall(b'XADD typed 1-1 "a field" \'it\\\'s\' "" "\\x00\\r\\n"\r\n')
    peer.socket.sendall(b'XRANGE typed - +\r\nDEL typed\r\n')
    print([peer.reply() for _ in range(3)])


def elements(path, *words):
    for element in Peer(path).ask(*words):
        print(repr(element))


# ---- waiting ----

def block(path):
    peer, other, third = Peer(path), Peer(path), Peer(path)
    writer = Peer(path)
    writer.ask('DEL', 'b1', 'b2')
    # Two wait for one stream, one of them for a second one, too; all in the order of waiting.
    peer.send('XREAD', 'BLOCK', 0, 'STREAMS', 'b1', 'b2', '$', '$')
    other.send('XREAD', 'BLOCK', 0, 'COUNT', 1, 'STREAMS', 'b1', '$')
    until(lambda: figures(writer)['blocked_clients'] == '2', 'two wait')
    third.send('XREAD', 'BLOCK', 200, 'STREAMS', 'b2', 9)
    writer.ask('XADD', 'b1', '5-1', 'f', 'v')
    want = [['b1', [['5-1', ['f', 'v']]]]]
    need(peer.reply() == want and other.reply() == want, 'both get the entry')
    need(third.reply() is None, 'the third gets nothing')
    # Commands behind a wait are answered behind it.
    peer.socket.sendall(request('XREAD', 'BLOCK', 0, 'STREAMS', 'b2', '$') + request('PING'))
    until(lambda: figures(writer)['blocked_clients'] == '1', 'one waits')
    writer.ask('XADD', 'b2', '6-1', 'f', 'v')
    need(peer.reply() == [['b2', [['6-1', ['f', 'v']]]]] and peer.reply() == '+PONG', 'order')
    # An id that is not reached yet; the stream is deleted and made again.
    peer.send('XREAD', 'BLOCK', 0, 'STREAMS', 'b1', '7-0')
    until(lambda: figures(writer)['blocked_clients'] == '1', 'one waits for what is not there')
    writer.ask('XADD', 'b1', '6-5', 'f', 'v')
    writer.ask('DEL', 'b1')
    writer.ask('XADD', 'b1', '7-0', 'f', 'v')
    writer.ask('XADD', 'b1', '7-1', 'f', 'last')
    need(peer.reply() == [['b1', [['7-1', ['f', 'last']]]]], 'only what is above')
    # One that goes away while it waits.
    peer.send('XREAD', 'BLOCK', 0, 'STREAMS', 'b1', 'never', '$', '$')
    until(lambda: figures(writer)['blocked_clients'] == '1', 'one waits for ever')
    peer.socket.close()
    need(writer.ask('XADD', 'b1', '8-1', 'f', 'v') == '8-1', 'the writer goes on')
    writer.ask('DEL', 'b1', 'b2')


# ---- broken requests ----

def rules(path):
    cases = [
        (b'*1\r\n$4\r\nPING\r\n' * 3, b'+PONG\r\n' * 3),
        (b'PING\r\n  PING  \r\n\r\nECHO hi\r\n', b'+PONG\r\n+PONG\r\n$2\r\nhi\r\n'),
        (b'*0\r\n*-1\r\nPING\r\n', b'+PONG\r\n'),
        (b'*x\r\nPING\r\n', b'-ERR Protocol error: invalid multibulk length\r\n'),
        (b'*9999999999\r\n', b'-ERR Protocol error: invalid multibulk length\r\n'),
        (b'PING\r\n*1\r\n+PING\r\n', b"+PONG\r\n-ERR Protocol error: expected '$', got '+'\r\n"),
        (b'*1\r\n$-1\r\n', b'-ERR Protocol error: invalid bulk length\r\n'),
        (b'*1\r\n$99999999999\r\n', b'-ERR Protocol error: invalid bulk length\r\n'),
        (b'*1\r\n$4\r\nPINGPING\r\n',
         b'-ERR Protocol error: no line end behind a bulk string\r\n'),
        (b'x' * 70000, b'-ERR Protocol error: too big inline request\r\n'),
        (b'XADD q * a "b\r\n', b'-ERR Protocol error: unbalanced quotes in request\r\n'),
        # The first append of a pipeline has its answer, whatever follows.
        (b'XADD r 1-1 f v\r\n*1\r\n!', b"$3\r\n1-1\r\n-ERR Protocol error: expected '$', got '!'"
         b'\r\n'),
    ]
    for sent, want in cases:
        peer = Peer(path)
        peer.socket.sendall(sent)
        peer.socket.shutdown(socket.SHUT_WR)
        got = peer.rest()
        need(got == want, sent[:40], 'gave', got, 'not', want)
    # One byte at a time, and what is in the log is what was sent.
    peer = Peer(path)
    for byte in request('XADD', 'parts', '3-3', 'field', b'\r\n\0\xff' * 3) + request('PING'):
        peer.socket.sendall(bytes([byte]))
    need(peer.reply() == '3-3' and peer.reply() == '+PONG', 'byte by byte')
    need(peer.ask('XRANGE', 'parts', '-', '+') == [['3-3', ['field', '\r\n\0\xff' * 3]]], 'kept')
    # A little, and much later: what is kept of a request grows by any amount.
    value = bytes(random.Random(3).choices(range(256), k=100000))
    whole = request('XADD', 'parts', '3-3', 'field', value) * 2
    for cut in (100, 5000, 45000, 100100, len(whole)):
        peer = Peer(path)
        peer.ask('DEL', 'parts')
        for part in (whole[:cut // 2], whole[cut // 2:cut], whole[cut:]):
            peer.socket.sendall(part)
            time.sleep(0.05)
        need(peer.reply() == '3-3' and peer.reply()[0] == '-', 'in parts, cut at', cut)
        got = peer.ask('XRANGE', 'parts', '-', '+')
        need(got == [['3-3', ['field', value.decode('latin1')]]], 'kept, cut at', cut)
    # Typed, and in the form of an array: the same entry.
    peer.socket.sendall(b'XADD parts 3-4 field typed\r\n')
    need(peer.reply() == '3-4', 'typed')
    need(peer.ask('XRANGE', 'parts', '3-4', '+') == [['3-4', ['field', 'typed']]], 'typed, kept')
    peer.ask('DEL', 'parts', 'r')
    # What came in front of it is answered, what is behind it is not read.
    peer.socket.sendall(request('PING') + request('QUIT') + request('PING'))
    need(peer.rest() == b'+PONG\r\n+OK\r\n', 'QUIT', peer.bytes)


# ---- readers that do not read ----

def resident(pid):
    return int(open('/proc/%s/statm' % pid).read().split()[1]) * os.sysconf('SC_PAGESIZE')


def figures(peer):
    return dict(line.split(':', 1) for line in peer.ask('INFO').split('\r\n') if ':' in line)


def slow(path, pid):
    """For a server with --max-output 4M and --max-buffers 16M."""
    peer = Peer(path)
    text = 'x' * 10000
    for i in range(600):
        peer.ask('XADD', 'large', '*', 'f', text)
    got = peer.ask('XRANGE', 'large', '-', '+')
    need(isinstance(got, str) and 'max-output' in got, 'a reply of 6 MB is refused', got[:60])
    got = peer.ask('XREAD', 'STREAMS', 'large', 0)
    need(isinstance(got, str) and 'max-output' in got, 'XREAD, too')
    need(len(peer.ask('XRANGE', 'large', '-', '+', 'COUNT', 300)) == 300, 'half of it is not')
    before = resident(pid)
    # Each asks for 3 MB a hundred times and reads nothing.
    ask = request('XRANGE', 'large', '-', '+', 'COUNT', 300) * 100
    greedy = [Peer(path) for _ in range(30)]
    for i, one in enumerate(greedy):
        one.socket.sendall(ask if i % 2 else ask[:len(ask) // 100])
    until(lambda: figures(peer)['connections_closed_buffers'] != '0', 'nobody was disconnected')
    need(settled(peer) <= 16 << 20, 'of 16 MB wait', waiting(peer))
    grown = resident(pid) - before
    need(grown < 48 << 20, 'grew by', grown)
    # And so are those who ask once.
    for one in greedy:
        one.socket.close()
    greedy = [Peer(path) for _ in range(15)]
    for one in greedy:
        one.socket.sendall(ask[:len(ask) // 100])
    need(settled(peer) <= 16 << 20, 'of 16 MB wait, when each asks once', waiting(peer))
    # Who is slow, but reads, gets all.
    for one in greedy:
        one.socket.close()
    late = Peer(path)
    late.socket.sendall(ask + request('PING'))
    for i in range(100):
        need(len(late.reply()) == 300, 'reply', i)
    need(late.reply() == '+PONG', 'and goes on')
    # Requests that are never finished are bounded as well.
    hoards = [Peer(path) for _ in range(40)]
    for one in hoards:
        try:
            one.socket.sendall(b'*2\r\n$4\r\nECHO\r\n$900000\r\n' + b'x' * 800000)
        except (BrokenPipeError, ConnectionResetError):
            pass
    need(settled(peer) <= 16 << 20, 'of 16 MB wait, unfinished', waiting(peer))
    for one in hoards:
        one.socket.close()
    until(lambda: waiting(peer) == 0, 'buffers are left')
    peer.ask('DEL', 'large')


def waiting(peer):
    return int(figures(peer)['connection_buffer_bytes'])


def settled(peer):
    """Bytes that wait, when they do not change any more. A server that got no processor between
    two looks may answer the second one before it does anything else."""
    looks = [-1, -2]
    while len(set(looks[-3:])) != 1:
        time.sleep(0.2)
        looks.append(waiting(peer))
    return looks[-1]


def ahead(path, pid):
    """For a server with --max-output 4M and --max-buffers 16M."""
    peer = Peer(path)
    for i in range(300):
        peer.ask('XADD', 'ahead', '*', 'f', 'x' * 1000)
    want = peer.ask('XRANGE', 'ahead', '-', '+')
    ask = request('XRANGE', 'ahead', '-', '+')
    # Requests are run while replies wait, up to the bound; the rest when those are taken.
    greedy = Peer(path)
    greedy.socket.sendall(ask * 100 + request('PING'))
    size = settled(peer)
    need(3 << 20 < size < (4 << 20) + (64 << 10), 'of 30 MB wait', size)
    for i in range(100):
        need(greedy.reply() == want, 'reply', i)
    need(greedy.reply() == '+PONG', 'and goes on')
    until(lambda: waiting(peer) == 0, 'buffers are left')
    # Who says that this is all gets all.
    greedy.socket.sendall(ask * 10)
    greedy.socket.shutdown(socket.SHUT_WR)
    time.sleep(0.3)
    need([greedy.reply() for _ in range(10)] == [want] * 10 and greedy.rest() == b'', 'the end')
    # Small replies: what they take is counted, whatever their number.
    before = resident(pid)
    many = [Peer(path) for _ in range(100)]
    for one in many:
        one.socket.setblocking(False)
    for _ in range(100):
        for one in many:
            try:
                one.socket.send(request('PING') * 1000)
            except (BlockingIOError, BrokenPipeError, ConnectionResetError):
                pass
    size = settled(peer)
    need(size <= 16 << 20, 'wait', size)
    need(resident(pid) - before < 48 << 20, 'grew by', resident(pid) - before)
    for one in many:
        one.socket.close()
    until(lambda: waiting(peer) == 0, 'buffers are left')
    # When half of all buffers is taken, who has replies waiting is not read from; until it is
    # free again.
    hogs = [Peer(path) for _ in range(4)]
    for one in hogs:
        one.socket.sendall(ask * 100)
    size = settled(peer)
    need(8 << 20 <= size < 10 << 20, 'of 16 MB the hogs have', size)
    other = Peer(path, 5)
    try:
        other.socket.sendall(request('PING') * 500000)
        need(False, 'is read from')
    except TimeoutError:
        need(settled(peer) < 10 << 20, 'more than half')
    other = Peer(path, 100)
    thread = threading.Thread(target=other.socket.sendall, args=(request('PING') * 200000,))
    thread.start()
    time.sleep(1)
    need(thread.is_alive(), 'is read from, though buffers are short')
    for one in hogs:
        one.socket.close()
    thread.join(100)
    need(not thread.is_alive(), 'is not read from, though buffers are free')
    for i in range(200000):
        need(other.reply() == '+PONG', 'reply', i)
    other.socket.close()
    until(lambda: waiting(peer) == 0, 'buffers are left')
    peer.ask('DEL', 'ahead')


def names(path):
    """For a server with --payload 64K."""
    peer, other = Peer(path), Peer(path)
    old = [['%d-1' % i, ['f', chr(96 + i) * 2000]] for i in range(1, 6)]
    for turn in range(20):
        for id, fields in old:
            need(peer.ask('XADD', 'old', id, *fields) == id, 'added')
        behind = [request('DEL', 'old')]
        behind += [request('XADD', 'new', 'MAXLEN', 3, '*', 'f', 'Z' * 2000) for _ in range(60)]
        # More of them than the socket takes: those that wait are as they were, too.
        times = 60 if turn % 2 else 1
        peer.socket.sendall(request('XRANGE', 'old', '-', '+') * times + b''.join(behind))
        if times > 1:
            until(lambda: other.ask('XLEN', 'old') == 0,
                  'requests behind replies that wait are not run')
        for _ in range(times):
            need(peer.reply() == old, 'what was there when it was asked for, turn', turn)
        got = [peer.reply() for _ in behind]
        need(got[0] == 1 and all(id[0] == '1' for id in got[1:]), got)


def half(path):
    """For a server with --idle 4 and --max-connections 40."""
    said = [b'', b'*', b'*2\r\n$4\r\nEC', b'*1\r\n$4\r\nPING', b'PIN', b'*3\r\n$4\r\nXADD\r\n']
    peers = []
    for i in range(30):
        peers.append(Peer(path))
        peers[-1].socket.sendall(said[i % len(said)])
    busy = Peer(path)
    waiting = Peer(path)
    waiting.send('XREAD', 'BLOCK', 0, 'STREAMS', 'half', '$')
    end = time.time() + 9
    while time.time() < end:
        need(busy.ask('PING') == '+PONG', 'others are served')
        time.sleep(0.1)
    for peer in peers:
        need(peer.rest() == b'', 'was closed without a word')
    need(busy.ask('XADD', 'half', '*', 'f', 'v') is not None, 'who speaks stays')
    need(waiting.reply()[0][0] == 'half', 'who waits stays')
    full = []
    refused = 0
    for _ in range(60):
        full.append(Peer(path))
    for peer in full:
        try:
            peer.send('PING')
            refused += peer.reply() != '+PONG'
        except (EOFError, ConnectionResetError, BrokenPipeError):
            refused += 1
    need(60 - 40 <= refused <= 24, 'refused', refused)
    for peer in full:
        peer.socket.close()
    until(lambda: figures(busy)['connected_clients'] == '2', 'those that were closed are there')
    need(Peer(path).ask('PING') == '+PONG', 'and then there is room again')


# ---- noise ----

def scrap(chance):
    """Random bytes, more or less like requests."""
    words = [b'*', b'$', b'\r\n', b'XADD', b'XREAD', b'XRANGE', b'PING', b'BLOCK', b'STREAMS',
             b'noise', b'-', b'+', b'1', b'2', b'3', b'4', b'0-1', b'MAXLEN', b'COUNT']
    parts = []
    for _ in range(chance.randrange(1, 40)):
        kind = chance.randrange(4)
        if kind == 0:
            parts.append(bytes(chance.randrange(256) for _ in range(chance.randrange(1, 60))))
        elif kind == 1:
            parts.append(request(*[chance.choice(words) for _ in range(chance.randrange(1, 8))]))
        elif kind == 2:
            parts.append(chance.choice(words))
        else:
            parts.append(b'*%d\r\n$%d\r\n' % (chance.randrange(9), chance.randrange(9)))
    return b''.join(parts)


def patient(path):
    """A peer; one that finds the queue of the socket full comes again."""
    for _ in range(400):
        try:
            return Peer(path)
        except BlockingIOError:
            time.sleep(0.05)
    return Peer(path)


def batch(path, chance, count):
    peers = []
    for _ in range(count):
        one = patient(path)
        one.socket.setblocking(False)
        peers.append(one)
    for one in peers:
        one.socket.send(b'*2\r\n$4\r\nECHO\r\n$3\r\nab')
    for one in peers:
        one.socket.send(b'c\r\n')
    for one in peers:
        try:
            one.socket.send(scrap(chance))
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            pass
    for one in peers:
        if chance.randrange(2):
            try:
                one.socket.recv(4096)
            except (BlockingIOError, ConnectionResetError):
                pass
        one.socket.close()


def noise(path, pid, count):
    seed = int(os.environ.get('NOISE_SEED', random.randrange(1 << 30)))
    print('NOISE_SEED=%d' % seed)
    chance = random.Random(seed)
    sizes = []
    for turn in range(10):
        for _ in range(0, count // 10, 200):
            batch(path, chance, 200)
        peer = Peer(path)
        peer.ask('DEL', 'noise')
        peer.ask('XTRIM', 'noise', 'MAXLEN', 0)
        need(peer.ask('PING') == '+PONG', 'it still answers')
        until(lambda: int(figures(peer)['connected_clients']) < 50, 'those that left are there')
        told = figures(peer)
        sizes.append(resident(pid))
        need(int(told['blocked_clients']) == 0, told)
    need(int(told['total_connections_received']) >= count, told['total_connections_received'])
    # The log is written through, so its pages come in; what is left out of that is flat.
    need(sizes[-1] - sizes[2] < 3 << 20, 'grows:', sizes)


def mixture(chance, number, count):
    """A pipeline: what is sent, and the kind of each reply."""
    kinds = chance.choices('apxesl', weights=(20, 1, 1, 1, 1, 1), k=count)
    sent = []
    for i, kind in enumerate(kinds):
        sent.append({'a': lambda: request('XADD', 'mixed', '*', 'who', '%d:%d' % (number, i)),
                     'p': lambda: request('PING'),
                     'x': lambda: request('XADD', 'mixed', '1-1', 'f', 'too small'),
                     'e': lambda: request('ECHO', '%d:%d' % (number, i)),
                     's': lambda: request('XADD', 'mixed', 'MAXLEN', 'x', '*', 'f', 'v'),
                     'l': lambda: request('XLEN', 'mixed')}[kind]())
    return kinds, b''.join(sent)


def mixed(path):
    chance = random.Random(5)
    peers = [Peer(path) for _ in range(12)]
    added, last = {}, [(0, 0)] * len(peers)
    for turn in range(6):
        asked = [mixture(chance, 1000 * turn + n, 6000 if n == 0 else chance.randrange(400))
                 for n in range(len(peers))]
        threads = [threading.Thread(target=peer.socket.sendall, args=(sent,))
                   for peer, (_, sent) in zip(peers, asked)]
        for thread in threads:
            thread.start()
        for n, (peer, (kinds, _)) in enumerate(zip(peers, asked)):
            mine = 0
            for i, kind in enumerate(kinds):
                got = peer.reply()
                if kind == 'a':
                    id = tuple(int(part) for part in got.split('-'))
                    need(id > last[n] and id not in added, 'id', got, 'behind', last[n])
                    last[n] = id
                    added[id] = '%d:%d' % (1000 * turn + n, i)
                    mine += 1
                else:
                    need({'p': got == '+PONG', 'e': got == '%d:%d' % (1000 * turn + n, i),
                          'x': str(got).startswith('-ERR The ID specified in XADD is equal'),
                          's': got == '-ERR value is not an integer or out of range',
                          'l': kind == 'l' and isinstance(got, int) and got >= mine}[kind],
                         kind, 'was answered by', got)
        for thread in threads:
            thread.join()
    there = peers[0].ask('XRANGE', 'mixed', '-', '+')
    need([(tuple(int(part) for part in id.split('-')), who) for id, (_, who) in there] ==
         sorted(added.items()), len(there), 'entries are not the', len(added), 'that were added')
    peers[0].ask('DEL', 'mixed')


def sessions(path):
    """For a server with --sessions 2."""
    peers = [Peer(path) for _ in range(3)]
    need([peer.ask('XADD', 's', '*', 'f', 'v')[0] for peer in peers] == ['1', '1', '-'], 'two')
    peers[0].socket.close()
    until(lambda: peers[2].ask('XADD', 's', '*', 'f', 'v')[0] != '-', 'not given back')
    need(peers[1].ask('XLEN', 's') == 3, 'entries')


# ---- ends in the middle ----

def writer(path, number, acked):
    """Pipelines of 20 to four streams; notes what was answered."""
    chance = random.Random(number)
    turn = 0
    try:
        peer = Peer(path)
        while True:
            ask = [('load:%d' % chance.randrange(4), '%d:%d' % (number, turn + i),
                    'x' * chance.randrange(300)) for i in range(20)]
            peer.socket.sendall(b''.join(
                request('XADD', key, 'MAXLEN', '~', 8000, '*', 'who', who, 'text', text)
                for key, who, text in ask))
            for key, who, text in ask:
                id = peer.reply()
                if id[0] == '-':
                    return
                acked.append((key, id, who, text))
            turn += 20
    except (EOFError, OSError):
        pass


def load(path, file):
    acked = [[] for _ in range(4)]
    threads = [threading.Thread(target=writer, args=(path, i, acked[i])) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with open(file, 'w') as out:
        for entry in sum(acked, []):
            print(*entry, file=out)


def verify(path, file):
    peer = Peer(path)
    there = {}
    for key in ('load:%d' % i for i in range(4)):
        entries = peer.ask('XRANGE', key, '-', '+')
        need([e[0] for e in entries] == sorted((e[0] for e in entries),
                                               key=lambda i: [int(n) for n in i.split('-')]), key)
        there[key] = dict((id, fields) for id, fields in entries)
    lost, seen = [], 0
    for line in open(file):
        key, id, who, text = (line.rstrip('\n').split(' ') + [''])[:4]
        oldest = next(iter(there[key]))
        if [int(n) for n in id.split('-')] < [int(n) for n in oldest.split('-')]:
            continue  # trimmed
        seen += 1
        if there[key].get(id) != ['who', who, 'text', text]:
            lost.append(line)
    need(not lost, len(lost), 'of', seen, 'are lost:', lost[:3])
    need(seen > 100, 'only', seen, 'entries')
    print(seen, 'acknowledged entries are there')


def durable(path):
    peer = Peer(path)
    for i in range(20):
        peer.ask('XADD', 's', '*', 'f', i)
        told = figures(peer)
        need(int(told['log_durable_position']) >= int(told['log_committed_position']), 'late')
    # Many at once, in pipelines; what each reads after its answer is what it wrote.
    peers = [Peer(path) for _ in range(10)]
    for turn in range(5):
        for number, one in enumerate(peers):
            one.socket.sendall(b''.join(request('XADD', 'm%d' % number, '*', 'f', turn)
                                        for _ in range(30)) + request('XLEN', 'm%d' % number))
        for one in peers:
            ids = [one.reply() for _ in range(30)]
            need(len(set(ids)) == 30 and one.reply() == 30 * (turn + 1), 'answers')
    # Answers of one turn that become ready one after the other.
    for _ in range(5):
        peer.socket.sendall((request('XADD', 's', '*', 'f', 'v') + request('PING') +
                             request('XADD', 't', '*', 'f', 'v')) * 30)
        got = [peer.reply() for _ in range(90)]
        need(got[1::3] == ['+PONG'] * 30 and len(set(got)) == 61, 'order', got)
    # One that goes away without waiting for its answer.
    for _ in range(10):
        gone = Peer(path)
        gone.send('XADD', 's', '*', 'f', 'gone')
        gone.socket.close()
    need(peer.ask('PING') == '+PONG', 'goes on')
    until(lambda: waiting(peer) == 0, 'buffers are left')


# ---- the client library ----

def library(path):
    import redis
    client = redis.Redis(unix_socket_path=path, client_name='library')
    need(client.ping() and client.client_getname() == 'library', 'name')
    need(client.info()['server_name'] == 'tidepool-broker', 'info')
    need(client.config_get('appendonly') == {'appendonly': 'no'}, 'config')
    first = client.xadd('lib', {'a': 1, 'b': 'two'})
    ids = [client.xadd('lib', {'n': i}, maxlen=50, approximate=False) for i in range(100)]
    need(sorted(ids, key=lambda i: [int(n) for n in i.split(b'-')]) == ids, 'ids grow')
    need(client.xlen('lib') == 50, 'maxlen')
    need([i for i, _ in client.xrange('lib')] == ids[50:], 'xrange')
    need([i for i, _ in client.xrevrange('lib', count=3)] == ids[:-4:-1], 'xrevrange')
    need(client.xrange('lib', min='(' + ids[97].decode())[0] == (ids[98], {b'n': b'98'}), 'open')
    need(client.xread({'lib': ids[97], 'no': 0}, count=1) == [[b'lib', [(ids[98], {b'n': b'98'})]]],
         'xread')
    need(first not in dict(client.xrange('lib')), 'trimmed')
    with client.pipeline(transaction=False) as pipe:
        for i in range(1000):
            pipe.xadd('pipe', {'i': i})
        pipe.xlen('pipe')
        got = pipe.execute()
    need(got[-1] == 1000 and len(set(got[:-1])) == 1000, 'pipeline')
    need([int(f[b'i']) for _, f in client.xrange('pipe')] == list(range(1000)), 'in order')
    # All is said before anything is read.
    with client.pipeline(transaction=False) as pipe:
        for i in range(50000):
            pipe.xadd('long', {'i': i})
        got = pipe.execute()
    need(len(set(got)) == 50000 and client.xlen('long') == 50000, 'a long pipeline')
    text = 'x' * 100
    for i in range(25):
        client.xadd('wide', {'i': i, 'text': text})
    want = client.xrange('wide')
    with client.pipeline(transaction=False) as pipe:
        for i in range(2000):
            pipe.xrange('wide', count=25 - i % 2)
        got = pipe.execute()
    need([got[i] == want[:25 - i % 2] for i in range(2000)] == [True] * 2000, 'much to read')
    client.delete('long', 'wide')
    seen = []

    def read():
        mine, last = redis.Redis(unix_socket_path=path), '$'
        while len(seen) < 200:
            for _, entries in mine.xread({'news': last}, block=20000) or []:
                seen.extend(int(fields[b'i']) for _, fields in entries)
                last = entries[-1][0]

    reader = threading.Thread(target=read)
    reader.start()
    while int(client.info('clients')['blocked_clients']) == 0:
        time.sleep(0.05)
    for i in range(200):
        client.xadd('news', {'i': i})
    reader.join(60)
    need(seen == list(range(200)), 'what the waiting reader saw', seen[:5], len(seen))
    try:
        client.xdel('lib', ids[99])
        need(False, 'xdel is taken')
    except redis.ResponseError as error:
        need('XDEL is not supported' in str(error), error)
    need(client.delete('lib', 'pipe', 'news', 'none') == 3 and client.xlen('lib') == 0, 'delete')


if __name__ == '__main__':
    words = sys.argv[2:]
    if sys.argv[1] == 'noise':
        words[2] = int(words[2])
    globals()[sys.argv[1]](*words)
