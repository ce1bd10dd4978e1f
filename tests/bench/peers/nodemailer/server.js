// A minimal durable sink on the smtp-server package: one file per recipient,
// written in tmp/, fsynced, renamed into new/, then the 250.
const [port, mail, cert, key] = [Number(process.argv[2]), ...process.argv.slice(3)];
const { SMTPServer } = require('smtp-server');
const { readFileSync: read, promises: fs } = require('fs');
let seq = 0;
async function store(user, data) {
  const name = `${Date.now()}.${process.pid}_${++seq}.mx`;
  const tmp = `${mail}/${user}/tmp/${name}`;
  const h = await fs.open(tmp, 'wx', 0o600);
  try { await h.writeFile(data); await h.sync(); } finally { await h.close(); }
  await fs.rename(tmp, `${mail}/${user}/new/${name}`);
}
new SMTPServer({
  name: 'mx.example.test', authOptional: true, disabledCommands: ['AUTH'], cert: read(cert), key: read(key),
  disableReverseLookup: true, size: 50 << 20, maxClients: 10000,
  onRcptTo(a, s, cb) { cb(/^u\d+@example\.test$/.test(a.address) ? null : Object.assign(new Error('no such user'), { responseCode: 550 })); },
  onData(stream, s, cb) {
    const parts = [];
    stream.on('data', (d) => parts.push(d));
    stream.on('end', () => {
      const data = Buffer.concat(parts);
      Promise.all(s.envelope.rcptTo.map((r) => store(r.address.split('@')[0], data))).then(() => cb(null), cb);
    });
  },
}).listen(port, '127.0.0.1', 1024);
