/**
 * OTP on Effect: processes, servers, supervisors and names, usable by themselves.
 *
 * Their words and their guarantees, with Effect's types. Where the two disagree, this is what was chosen:
 * - A process ends with its scope, and a linked child with its parent: in Erlang a parent's normal end leaves its
 *   children alone. Two outlive their parent: a child that was unlinked, and a plain process that traps exits, which
 *   gets the end as a message.
 * - Mailboxes are bounded. There is no selective receive (Mailbox).
 * - A request whose caller has timed out or been interrupted while it waited in the mailbox is not served.
 * - Links and monitors to a process that has ended give the reason it ended for, where Erlang says `noproc`.
 * - Exit signals interrupt a process as Effect interrupts a fiber: finalizers run, and regions that are uninterruptible
 *   are finished first. `killed` does not wait for them: the process is dead to all at once, its fiber ends when it
 *   can.
 * - Interruption from outside is `shutdown`. What must happen at any end goes into the process' `Scope`; `terminate`
 *   runs under OTP's conditions only.
 * - Errors that a caller is to get are typed and said with `Fail`; a callback that fails or dies is a crash, as in OTP.
 * - Left out: hibernation, distribution (`multi_call`, `abcast`, `global`), code change, named tables of processes for
 *   a whole realm.
 */

export * as ActorError from "./ActorError.ts"
export * as Agent from "./Agent.ts"
export * as DynamicSupervisor from "./DynamicSupervisor.ts"
export * as ExitReason from "./ExitReason.ts"
export * as GenServer from "./GenServer.ts"
export * as Mailbox from "./Mailbox.ts"
export * as PartitionSupervisor from "./PartitionSupervisor.ts"
export * as Pid from "./Pid.ts"
export * as Process from "./Process.ts"
export * as ProcessMetrics from "./ProcessMetrics.ts"
export * as PubSub from "./PubSub.ts"
export * as Registry from "./Registry.ts"
export * as Supervisor from "./Supervisor.ts"
export * as Sys from "./Sys.ts"
export * as Task from "./Task.ts"
export * as TaskSupervisor from "./TaskSupervisor.ts"
export * as Wire from "./Wire.ts"
