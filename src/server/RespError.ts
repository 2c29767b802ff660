/**
 * Every error that a client can be answered over RESP, code first. Where Redis 7.0 has the case, in its words.
 */
import { prefixBytesMax, prefixesMax } from "../kernel/index.ts"

export const RespError = {
  syntax: "ERR syntax error",
  notInteger: "ERR value is not an integer or out of range",
  notFloat: "ERR value is not a valid float",
  notPositive: "ERR value is out of range, must be positive",
  notFinite: "ERR increment would produce NaN or Infinity",
  overflow: "ERR increment or decrement would overflow",
  decrementOverflow: "ERR decrement would overflow",
  offsetRange: "ERR offset is out of range",
  stringTooLong: "ERR string exceeds maximum allowed size (proto-max-bulk-len)",
  wrongType: "WRONGTYPE Operation against a key holding the wrong kind of value",
  noSuchKey: "ERR no such key",
  invalidCursor: "ERR invalid cursor",
  int32Range: "ERR value is out of range, value must between -2147483648 and 2147483647",
  dbRange: "ERR DB index is out of range",
  noProto: "NOPROTO unsupported protocol version",
  protoNotInteger: "ERR Protocol version is not an integer or out of range",
  nestedMulti: "ERR MULTI calls can not be nested",
  notInTransaction: "ERR Command not allowed inside a transaction",
  execWithoutMulti: "ERR EXEC without MULTI",
  discardWithoutMulti: "ERR DISCARD without MULTI",
  execAborted: "EXECABORT Transaction discarded because of previous errors.",
  noAuth: "NOAUTH Authentication required.",
  noPassword:
    "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
  wrongPassword: "WRONGPASS invalid username-password pair or user is disabled.",
  maxClients: "ERR max number of clients reached",
  expireConflictNx: "ERR NX and XX, GT or LT options at the same time are not compatible",
  expireConflictGtLt: "ERR GT and LT options at the same time are not compatible",
  helloNoAuth:
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
  notMetadata: "ERR META is not a JSON object of at most 64 KiB and 16 levels",
  notCost: "ERR COST is not a number of zero or more",
  notOwner: "ERR OWNER is writer or cluster",
  ownerWithoutTtl: "ERR OWNER cluster needs a time to live: EX, PX, EXAT, PXAT or KEEPTTL",
  ownerOfLocal: "ERR OWNER cluster and LOCAL exclude each other",
  longName: "ERR a client's and a library's name have at most 256 bytes",
  clientName: "ERR Client names cannot contain spaces, newlines or special characters.",
  invalidCommand: "ERR Invalid command specified",
  noKeyArguments: "ERR The command has no key arguments",
  getKeysArity: "ERR Invalid number of arguments specified for command",

  debugDisabled: "ERR DEBUG command not allowed: start the server with --enable-debug-command",
  noSuchProcess: (target: string) =>
    `ERR no process is called '${cString(target, 128)}'; mimosa top shows names, paths (webhooks/dispatcher) and pids (0.42)`,
  ambiguousProcess: (target: string, paths: string) =>
    `ERR '${cString(target, 128)}' may be any of ${paths}; give the path or the pid`,
  rootProcess: (target: string) =>
    `ERR '${cString(target, 128)}' is the root, above which nobody could restart it; crash one of those below it`,
  processDown: (target: string) =>
    `ERR '${cString(target, 128)}' does not run at this moment; its supervisor is restarting it`,

  noTriggers: "ERR trigger: this server runs without triggers",
  trigger: (message: string) => `ERR trigger: ${message}`,
  triggerOption: (option: string) =>
    `ERR trigger: '${cString(option, 128)}' is no option; use TIMEOUT, MEMORY, PRIORITY, WHEN CHANGED, SAMPLE, INCLUDE, SCOPE, FAILCLOSED, ISOLATE or DISABLED, then the source`,
  triggerNumber: (option: string) => `ERR trigger: ${option} takes a whole number, then the source follows`,

  negativeTimeout: "ERR timeout is negative",
  notBrought: (why: string) => `ERR load: ${why}`,
  noCoherence: "ERR coherence: this server shares its keys with no other; start it with --namespace",
  doctorBusy: "ERR coherence: an examination is under way; it takes 11 seconds at most",
  doctorSyntax: (max: number) => `ERR coherence: it is COHERENCE DOCTOR [SAMPLES <1 to ${max}>]`,
  noMember: (name: string) => `ERR coherence: there is no instance '${cString(name, 64)}'; COHERENCE PEERS lists them`,
  notPrefix: `ERR a prefix ends with ':', and has ${prefixBytesMax} bytes and ${prefixesMax} colons at most; others match nothing`,

  keysOfSeveral: "ERR keys of different tenants in one command; send one for each of them",
  noTenants: "ERR tenant: this server keeps no tenants",
  noTenant: (id: string) => `NOTENANT no tenant has the id '${cString(id, 128)}'`,
  tenantGone: "NOTENANT the tenant that this connection acts as has been removed",
  boundToTenant: "NOPERM this connection is logged in as its tenant for good; open another one",
  actAsInMiddle: "ERR end the subscriptions and the transaction of this connection before it acts as a tenant",
  clientMemory: (max: number) =>
    `OOM all clients together hold ${max} bytes already: input, transactions, subscriptions, replies; send less at once`,
  tenantMemory: (max: number) =>
    `OOM the connections of this tenant hold ${max} bytes already: input, transactions, subscriptions, replies; send less at once`,
  tenantClients: (max: number) => `ERR ${max} connections are logged in as this tenant already`,
  notForTenants: (command: string) => `NOPERM '${command}' is for operators, not for tenants`,
  notAsTenant: (command: string) =>
    `NOPERM '${command}' reaches beyond the tenant; TENANT USE without an id ends acting as it`,
  notOwnTenant: (id: string) => `NOPERM this connection acts as tenant '${id}' and can name no other`,
  tenantPattern: (prefix: string) =>
    `ERR trigger: keys that begin with '${prefix}:' are a tenant's; register it under TENANT USE, with a pattern of bare keys`,
  limitPairs: "ERR tenant: a limit is a name and a number, as in LIMIT max_entries 1000",
  limitValue: (name: string, range: string, given: string) =>
    `ERR tenant: ${name} is ${range}, not '${cString(given, 40)}'`,
  limitUnknown: (name: string, names: string) => `ERR tenant: '${cString(name, 128)}' is no limit; there are ${names}`,
  noScripts: "ERR script: this server runs no scripts",
  noScript: (name: string) => `NOSCRIPT there is no script '${cString(name, 128)}'`,
  notText: (what: string) => `ERR ${what} is not UTF-8`,
  notJson: (what: string, why: string, hint = "") => `ERR ${what}: ${why}${hint}`,
  hidden: "ERR an internal error; the operator's log has it",

  execRefused: (reason: string) => `EXECABORT Transaction discarded because of: ${reason.replace(/^ERR /, "")}`,
  arity: (command: string) => `ERR wrong number of arguments for '${command}' command`,
  tooManyArguments: (command: string, max: number) =>
    `ERR '${command}' takes at most ${max} arguments; send it in parts`,
  invalidExpire: (command: string) => `ERR invalid expire time in '${command}' command`,
  helloSyntax: (option: string) => `ERR Syntax error in HELLO option '${cString(option, 128)}'`,
  tagCount: (max: number) => `ERR TAGS takes a count from 1 to ${max}, then that many tags`,
  unsupportedOption: (option: string) => `ERR Unsupported option ${option}`,
  unknownSubcommand: (subcommand: string, command: string) =>
    `ERR unknown subcommand '${cString(subcommand, 128)}'. Try ${command.toUpperCase()} HELP.`,
  subscribedOnly: (command: string) =>
    `ERR Can't execute '${command}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context`,
  unknownCommand: (args: readonly string[]) => {
    let shown = ""
    for (let i = 1; i < args.length && shown.length < 128; i++) {
      shown += `'${cString(args[i] as string, 128 - shown.length)}' `
    }
    const name = (args[0] as string).toLowerCase()
    const hint = Object.hasOwn(commandHints, name) ? commandHints[name] : ""
    return `ERR unknown command '${cString(args[0] as string, 128)}', with args beginning with: ${shown}${hint}`
  },
  tooLarge: (bytes: number, limit: number) =>
    `OOM an entry of at least ${bytes} bytes is larger than the ${limit} bytes that this cache may hold in all`,
  rejected: (why: string) => `REJECTED ${why.slice(0, 1024)}`,
  replyTooLarge: (max: number) => `ERR the reply would be longer than ${max} bytes; ask for it in parts`,
  tooManyKeys: (max: number) => `ERR one command changes at most ${max} keys at once; send it in parts`,
  globTooLong: (max: number) => `ERR the pattern is longer than ${max} bytes`,
  globTooSlow: (bytes: number) => `ERR a key of ${bytes} bytes is too long to try this pattern on; give a shorter one`,
  channelTooLong: (max: number) => `ERR the name of a channel, or a pattern, is longer than ${max} bytes`,
  tooManySubscriptions: (max: number) =>
    `ERR a client's subscriptions may take at most ${max} bytes, 100 for each beside its name; unsubscribe from some`,
  tooManyPatterns: (max: number) =>
    `ERR all patterns together may take at most ${max} bytes; subscribe to channels by name`,
  queueFull: (limit: string) => `ERR transaction is longer than ${limit}; send it in parts`,
  configUnknown: (name: string) => `ERR Unknown option or number of arguments for CONFIG SET - '${name}'`,
  configRefused: (name: string, reason: string) =>
    `ERR CONFIG SET failed (possibly related to argument '${name}') - ${reason}`
} as const

const scripts = "(scripts are tenants' here, and take JSON:"

/** What follows where Redis has a command that is another here, or goes by another name. */
const commandHints: Readonly<Record<string, string>> = {
  script: `${scripts} SCRIPT.SET <tenant> <name> <source>, then SCRIPT.RUN <tenant> <name> <function> [<json> ...])`,
  eval: `${scripts} SCRIPT.EVAL <tenant> <source> <function> [<json> ...])`,
  evalsha: `${scripts} SCRIPT.RUN <tenant> <name> <function> [<json> ...], of a script that SCRIPT.SET has kept)`
}

/** What follows where somebody wrote a text in the place of JSON: how that is written; "" where it began as JSON does. */
export const textHint = (given: string): string => {
  if (given === "" || /^\s*["[{]/.test(given)) return ""
  return `; a text is written '${given.length > 40 ? '"..."' : JSON.stringify(given)}'`
}

/** What printf's %.*s shows of a string: no further than its first NUL. */
const cString = (text: string, max: number): string => {
  const nul = text.indexOf("\0")
  return text.slice(0, nul === -1 ? max : Math.min(nul, max))
}
