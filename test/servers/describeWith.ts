/** Suites that need real servers. Apart from Binary.ts, which benchmarks use outside of a test runner. */
import { describe, it } from "vitest"
import * as Binary from "./Binary.ts"

/**
 * A `describe` for suites that run these programs. Where one is missing the suite is skipped with the reason in its name
 * and on stderr; where `isRequired` it has one test instead, which fails with that reason.
 */
export const describeWith =
  (programs: ReadonlyArray<string>) =>
  (name: string, body: () => void): void => {
    const lacking = programs.filter((program) => Binary.find(program) === undefined)
    if (lacking.length === 0) {
      describe(name, body)
    } else if (Binary.isRequired) {
      describe(name, () => {
        it("has the servers that it needs", () => {
          throw new Error(Binary.missing(lacking))
        })
      })
    } else {
      console.warn(`LEFT OUT: ${name}: ${Binary.missing(lacking)}`)
      describe.skip(`${name} (left out: ${Binary.missing(lacking)})`, body)
    }
  }

/** A `describe` for suites that need redis-server, redis-cli and redis-benchmark. */
export const describeWithRedis = describeWith(["redis-server", "redis-cli", "redis-benchmark"])

/** A `describe` for suites that need nats-server. */
export const describeWithNats = describeWith(["nats-server"])
