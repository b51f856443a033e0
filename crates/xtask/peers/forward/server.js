// A forward receiver that somebody else wrote, for the integration tests.
//
// node server.js PORT OUT [key=K] [user=U:P] [crt=FILE tls_key=FILE]
// Prints "READY <port>" when it listens; appends each entry to OUT as one line of JSON. With
// PEER_ENDS_WITH_INPUT=1 it ends with its standard input, so that it never outlives who started it.
'use strict';
const {FluentServer} = require('@fluent-org/logger');
const fs = require('fs');

const [, , port, out, ...pairs] = process.argv;
const given = Object.fromEntries(pairs.map((pair) => {
  const at = pair.indexOf('=');
  return [pair.slice(0, at), pair.slice(at + 1)];
}));

const options = {listenOptions: {port: Number(port), host: '127.0.0.1'}};
if (given.key) {
  const [user, password] = (given.user || '').split(':');
  options.security = {
    serverHostname: 'receiver.test',
    sharedKey: given.key,
    authorize: Boolean(given.user),
    userDict: given.user ? {[user]: password} : {},
  };
}
if (given.crt) {
  options.tlsOptions = {cert: fs.readFileSync(given.crt), key: fs.readFileSync(given.tls_key)};
}

const file = fs.openSync(out, 'a');
const server = new FluentServer(options);
server.on('entry', (tag, time, record) => {
  const line = {tag, seconds: time.epoch ?? time, nanos: time.nano ?? null, record};
  fs.writeSync(file, JSON.stringify(line) + '\n');
});
server.listen().then(() => console.log('READY', server.port));
if (process.env.PEER_ENDS_WITH_INPUT === '1') {
  process.stdin.resume();
  process.stdin.on('end', () => process.exit(0));
}
