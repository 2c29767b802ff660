/** Lua machines for code that nobody trusts. */

export * from "./EventFrame.ts"
export * from "./FieldAnalysis.ts"
export * from "./HostCall.ts"
export type { HostTables } from "./internal/machine.ts"
export * from "./LuaCodec.ts"
export * from "./LuaParser.ts"
export * from "./LuaVm.ts"
export * from "./MachineMemory.ts"
export * from "./Sandbox.ts"
export * from "./VmPool.ts"
export * from "./VmWorker.ts"
