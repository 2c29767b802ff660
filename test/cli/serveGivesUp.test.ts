/** `serve` within this process, where a test can reach the root of the tree. */
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { ExitReason, type Pid, Process } from "../../src/actor/index.ts"
import { CliError, exitDefect } from "../../src/cli/CliError.ts"
import { serve } from "../../src/cli/serve.ts"
import { temporaryFolder } from "./Mimosa.ts"

describe("serve", () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>
  beforeEach(async () => {
    folder = await temporaryFolder()
  })
  afterEach(() => folder.remove())

  it("fails with exit code 70 and the reason when the root of the tree ends", async () => {
    const served = serve({
      host: "127.0.0.1",
      port: 0,
      httpPort: 0,
      password: undefined,
      enableDebugCommand: false,
      eventLog: 0,
      dataDir: folder.path,
      logFormat: "json",
      maxEntries: 10,
      maxBytes: 1024 * 1024,
      egressAllow: []
    })
    const labelled = (name: string) => Process.list().find(({ label }) => label === name)
    while (labelled("listener") === undefined) await new Promise((resolve) => setImmediate(resolve))
    Process.unsafeExit(labelled("mimosa") as Pid.Pid, ExitReason.killed)
    const error = await served.catch((error: unknown) => error)
    expect(error).toBeInstanceOf(CliError)
    expect(error).toMatchObject({
      message: "the supervision tree gave up (killed); the log says why",
      exitCode: exitDefect
    })
  })
})
