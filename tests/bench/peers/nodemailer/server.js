// A small durable sink on the smtp-server package: one file for each recipient, written in tmp/,
// flushed, renamed into new/, and then the 250.
const { SMTPServer } = require('smtp-server');
const { readFileSync, promises: fs } = require('fs');

const [port, mail, cert, key] = process.argv.slice(2);
let written = 0;

async function store(user, data) {
  const name = `${Date.now()}.${process.pid}_${++written}.mx`;
  const file = await fs.open(`${mail}/${user}/tmp/${name}`, 'wx', 0o600);
  try {
    await file.writeFile(data);
    await file.sync();
  } finally {
    await file.close();
  }
  await fs.rename(`${mail}/${user}/tmp/${name}`, `${mail}/${user}/new/${name}`);
}

function onRcptTo(address, session, done) {
  const known = /^u\d+@example\.test$/.test(address.address);
  done(known ? null : Object.assign(new Error('no such user'), { responseCode: 550 }));
}

function onData(stream, session, done) {
  const parts = [];
  stream.on('data', (part) => parts.push(part));
  stream.on('end', () => {
    const data = Buffer.concat(parts);
    const users = session.envelope.rcptTo.map((to) => to.address.split('@')[0]);
    Promise.all(users.map((user) => store(user, data))).then(() => done(null), done);
  });
}

new SMTPServer({
  name: 'mx.example.test',
  authOptional: true,
  disabledCommands: ['AUTH'],
  disableReverseLookup: true,
  cert: readFileSync(cert),
  key: readFileSync(key),
  size: 50 << 20,
  maxClients: 10000,
  onRcptTo,
  onData,
}).listen(Number(port), '127.0.0.1', 1024);
