/**
 * OTP on Effect: processes, servers, supervisors and names, usable by themselves.
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
export * as PubSub from "./PubSub.ts"
export * as Registry from "./Registry.ts"
export * as Supervisor from "./Supervisor.ts"
export * as Sys from "./Sys.ts"
export * as Task from "./Task.ts"
export * as TaskSupervisor from "./TaskSupervisor.ts"
