/** A member of the mesh in a process of its own, to be killed or stopped: run as a program it joins and stays. */
import { type ChildProcess, spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import { Context, Effect, Layer } from "effect"
import { Supervisor } from "../../../../src/actor/index.ts"
import * as Mesh from "../../../../src/coherence/transport/Mesh.ts"
import { CoherenceTransport } from "../../../../src/coherence/transport/Transport.ts"
import { endWithUs } from "../../../servers/Binary.ts"

/** Starts the process and answers when it has settled. */
export const startMeshProcess = async (namespace: string, origin: number): Promise<ChildProcess> => {
  const child = spawn(process.execPath, ["--import", "tsx", file, namespace, String(origin)], {
    stdio: ["ignore", "pipe", "inherit"]
  })
  endWithUs(child)
  await new Promise<void>((resolve, reject) => {
    child.stdout.on("data", (text: Buffer) => text.includes("settled") && resolve())
    child.once("exit", (code) => reject(new Error(`the member's process has ended with ${code}`)))
  })
  return child
}

const file = fileURLToPath(import.meta.url)

if (process.argv[1] === file) {
  const [namespace, origin] = process.argv.slice(2)
  const quiet = { onFrame() {}, onLinkUp() {}, onLinkDown() {}, onGone() {}, wantsLink: () => true }
  const program = Effect.gen(function* () {
    const { open } = Context.get(yield* Layer.build(Mesh.layer()), CoherenceTransport)
    const self = { origin: Number(origin), region: 0, namespace: String(namespace), secret: undefined }
    const { children } = yield* open(self, { ...quiet, onSettled: () => process.stdout.write("settled\n") })
    yield* Supervisor.start({ children })
    yield* Effect.never
  })
  Effect.runFork(Effect.scoped(program))
}
