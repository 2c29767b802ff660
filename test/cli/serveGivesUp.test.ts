/** `serve` within this process, where a test can reach the root of the tree. */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { ExitReason, Process } from "../../src/actor/index.ts"
import { CliError, exitDefect } from "../../src/cli/CliError.ts"
import { serve } from "../../src/cli/serve.ts"
import { until } from "../webhooks/Receiver.ts"
import { temporaryFolder } from "./Mimosa.ts"

const folder = Effect.acquireRelease(Effect.promise(temporaryFolder), ({ remove }) => Effect.promise(remove))

describe("serve", () => {
  it.scopedLive("fails with exit code 70 and the reason when the root of the tree ends", () =>
    Effect.gen(function* () {
      const { path: dataDir } = yield* folder
      const limits = { maxEntries: 10, maxBytes: 1024 * 1024, egressAllow: [] }
      const served = yield* Effect.fork(
        serve({ host: "127.0.0.1", port: 0, httpPort: 0, dataDir, logFormat: "json", ...limits })
      )
      const listener = () => Process.list().some(({ label }) => label === "listener")
      yield* until(listener)
      const root = Process.list().find(({ label }) => label === "mimosa")
      if (root === undefined) return yield* Effect.dieMessage("there is no root")
      Process.unsafeExit(root, ExitReason.killed)
      const error = yield* Effect.flip(Fiber.join(served))
      expect(error).toEqual(
        new CliError({
          message: "the supervision tree gave up (killed); the log says why",
          exitCode: exitDefect
        })
      )
    })
  )
})
