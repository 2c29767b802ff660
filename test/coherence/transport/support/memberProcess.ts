/** A member in a process of its own, to be killed: run as a program it joins and waits for its end. */
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import * as Nats from "../../../../src/coherence/transport/Nats.ts"
import * as Redis from "../../../../src/coherence/transport/Redis.ts"
import { endWithUs } from "../../../servers/Binary.ts"
import { startMember } from "./Member.ts"

interface ProcessOptions {
  readonly transport: "nats" | "redis"
  readonly url: string
  readonly origin: number
}

/** Starts the process and answers when its transport says that it has settled. */
export const startMemberProcess = async (options: ProcessOptions): Promise<{ readonly kill: () => void }> => {
  const child = spawn(process.execPath, ["--import", "tsx", file, JSON.stringify(options)], {
    stdio: ["ignore", "pipe", "inherit"]
  })
  endWithUs(child)
  await new Promise<void>((resolve, reject) => {
    child.stdout.once("data", () => resolve())
    child.once("exit", (code) => reject(new Error(`the member's process has ended with ${code}`)))
  })
  return { kill: () => void child.kill("SIGKILL") }
}

const file = fileURLToPath(import.meta.url)

if (process.argv[1] === file) {
  const { origin, transport, url } = JSON.parse(process.argv[2] as string) as ProcessOptions
  const fast = { presenceInterval: "50 millis", settleTime: "50 millis" } as const
  const layer = transport === "nats" ? Nats.layer(url, fast) : Redis.layer(url, fast)
  const member = await startMember(layer, { origin })
  await member.saw("settled")
  console.log("settled")
  setInterval(() => {}, 60_000)
}
