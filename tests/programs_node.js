/*
 * programs_node.js - work for node, with the same output in every run.
 *
 *   node programs_node.js [THREADS]
 *
 * Buffers, JSON, zlib and crypto in the main thread, in worker threads and in child processes;
 * buffers wander from thread to thread, so that who frees them is not who made them.
 * Nothing that is printed depends on time, order or addresses.
 */
'use strict';
const assert = require('assert');
const child_process = require('child_process');
const crypto = require('crypto');
const fs = require('fs');
const os = require('os');
const path = require('path');
const util = require('util');
const zlib = require('zlib');
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');

const THREADS = Number(process.argv[2] || 4);

function say(name, ...values) {
    console.log(name, ...values);
}

function hash(...parts) {
    const sum = crypto.createHash('sha256');
    for (const part of parts) sum.update(part);
    return sum.digest('hex').slice(0, 24);
}

/* Numbers from 0 to 2^31, a fixed sequence for each seed. */
function sequence(seed) {
    let state = (seed * 7919 + 12345) % 2147483647;
    return () => (state = (state * 16807) % 2147483647);
}

function text(draw, length) {
    let out = '';
    while (out.length < length) out += draw().toString(36) + (draw() % 5 ? ' ' : '\n');
    return out.slice(0, length);
}

/* Buffers of all sizes, outside of node's pool, kept in a ring and copied around. */
function buffers(seed, rounds) {
    const draw = sequence(seed);
    const ring = new Array(400).fill(Buffer.alloc(0));
    for (let i = 0; i < rounds; i++) {
        const size = draw() % (i % 50 ? 20000 : 300000);
        const fresh = i % 3 ? Buffer.allocUnsafeSlow(size).fill(i) : Buffer.alloc(size);
        ring[draw() % ring.length].copy(fresh, size >> 1);
        const at = draw() % ring.length;
        ring[at] = i % 7 ? fresh : Buffer.concat([fresh, ring[at].subarray(0, 500)]);
    }
    return hash(...ring);
}

function json(seed, count) {
    const draw = sequence(seed);
    const rows = [];
    for (let i = 0; i < count; i++) {
        const name = text(draw, 5 + (draw() % 200));
        rows.push({ id: i, name, nest: { list: [i, draw(), null] } });
        if (i % 100 === 0) rows[i].long = text(draw, 9000);
    }
    const first = JSON.stringify(rows);
    const second = JSON.stringify(JSON.parse(first), null, 1);
    assert.deepStrictEqual(JSON.parse(second), rows);
    return hash(first, second, util.inspect(rows[7]), new Intl.NumberFormat('en').format(count));
}

function squeeze(seed) {
    const draw = sequence(seed);
    const plain = Buffer.from(text(draw, 400000));
    const packed = [zlib.gzipSync(plain), zlib.deflateRawSync(plain, { level: 9, memLevel: 9 }),
        zlib.brotliCompressSync(plain, { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 5 } })];
    assert(zlib.gunzipSync(packed[0]).equals(plain));
    assert(zlib.inflateRawSync(packed[1]).equals(plain));
    assert(zlib.brotliDecompressSync(packed[2]).equals(plain));
    return hash(...packed);
}

function secrets(seed) {
    const draw = sequence(seed);
    const plain = Buffer.from(text(draw, 200000));
    const key = crypto.createHash('sha256').update(String(seed)).digest();
    const cipher = crypto.createCipheriv('aes-256-gcm', key, key.subarray(0, 12));
    const sealed = Buffer.concat([cipher.update(plain), cipher.final()]);
    const open = crypto.createDecipheriv('aes-256-gcm', key, key.subarray(0, 12));
    open.setAuthTag(cipher.getAuthTag());
    assert(Buffer.concat([open.update(sealed), open.final()]).equals(plain));
    const pair = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const mark = crypto.sign('sha256', plain, pair.privateKey);
    assert(crypto.verify('sha256', plain, pair.publicKey, mark));
    return hash(sealed, crypto.createHmac('sha512', key).update(plain).digest());
}

function everything(seed) {
    return [buffers(seed, 4000), json(seed, 1000), squeeze(seed), secrets(seed)].join(' ');
}

/* ---- The parts that run elsewhere ---- */

/* A worker thread: gets a buffer, gives back another and its sums. */
function work() {
    parentPort.on('message', ({ buffer, turn }) => {
        if (turn < 0) return parentPort.close();
        const draw = sequence(workerData + turn);
        const next = Buffer.from(new ArrayBuffer(3000 + (draw() % 60000))).fill(turn);
        Buffer.from(buffer).copy(next, 100);
        const sums = turn === 0 ? everything(workerData) : buffers(turn, 300);
        parentPort.postMessage({ buffer: next.buffer, turn, sums }, [next.buffer]);
    });
}

/* A child process: answers over the channel, then ends by itself. */
function serve() {
    process.on('message', (seed) => {
        process.send({ seed, sums: everything(seed) }, () => process.disconnect());
    });
}

function thread(seed) {
    return new Promise((resolve, reject) => {
        const worker = new Worker(__filename, { workerData: seed });
        const seen = [];
        worker.on('error', reject);
        worker.on('exit', (code) => resolve([code, hash(...seen)]));
        worker.on('message', ({ buffer, turn, sums }) => {
            seen.push(sums, Buffer.from(buffer));
            const more = turn < 20 ? turn + 1 : -1;
            worker.postMessage({ buffer, turn: more }, [buffer]);
        });
        worker.postMessage({ buffer: new ArrayBuffer(8000), turn: 0 });
    });
}

/* A worker that dies of an exception, with much memory in its hands. */
function failing() {
    const code = 'const all = []; for (let i = 0; i < 2000; i++) all.push(Buffer.alloc(i * 9));' +
        'throw new RangeError(`with ${all.length}`)';
    return new Promise((resolve) => {
        const worker = new Worker(code, { eval: true });
        worker.on('error', (error) => resolve(`${error.name}: ${error.message}`));
    });
}

function fork(seed) {
    return new Promise((resolve, reject) => {
        const child = child_process.fork(__filename, ['child']);
        let answer = null;
        child.on('message', (message) => (answer = message.sums));
        child.on('error', reject);
        child.on('exit', (code, signal) => resolve([code, signal, answer]));
        child.send(seed);
    });
}

/* libuv's threads allocate for the main thread, and the other way round. */
async function pool() {
    const pbkdf2 = util.promisify(crypto.pbkdf2), scrypt = util.promisify(crypto.scrypt);
    const gzip = util.promisify(zlib.gzip), gunzip = util.promisify(zlib.gunzip);
    const jobs = [];
    for (let i = 0; i < 40; i++) {
        jobs.push(pbkdf2('word', `salt ${i}`, 300, 4000, 'sha512'));
        jobs.push(gzip(Buffer.from(text(sequence(i), 30000))).then(gunzip));
    }
    jobs.push(scrypt('word', 'salt', 64, { N: 1024 }));
    return hash(...await Promise.all(jobs));
}

async function files() {
    const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'node-'));
    const name = path.join(dir, 'file.gz');
    const source = Buffer.from(text(sequence(5), 500000));
    const { pipeline } = require('stream/promises');
    await pipeline(require('stream').Readable.from([source]), zlib.createGzip(),
        fs.createWriteStream(name));
    const back = [];
    await pipeline(fs.createReadStream(name), zlib.createGunzip(), async (chunks) => {
        for await (const chunk of chunks) back.push(chunk);
    });
    fs.rmSync(dir, { recursive: true });
    return Buffer.concat(back).equals(source);
}

async function main() {
    say('buffers', buffers(1, 12000));
    say('json', json(2, 3000));
    say('zlib', squeeze(3));
    say('crypto', secrets(4));
    say('thread pool', await pool());
    say('streams', await files());
    const threads = Array.from({ length: THREADS }, (_, i) => thread(100 + i));
    for (const result of await Promise.all(threads)) say('worker', ...result);
    if (THREADS > 0) say('failing worker', await failing());
    for (const result of await Promise.all([fork(7), fork(8)])) say('fork', ...result);
    const run = child_process.spawnSync(process.execPath, ['-p', '"a".repeat(70000).length'],
        { encoding: 'utf8' });
    say('spawn', run.status, run.stdout.trim(), run.stderr);
    const shell = child_process.execSync('echo from the shell; exit 0', { encoding: 'utf8' });
    say('shell', shell.trim());
}

if (!isMainThread) work();
else if (process.argv[2] === 'child') serve();
else main().catch((error) => { console.error(error); process.exitCode = 1; });
