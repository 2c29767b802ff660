/** `mimosa coherence doctor`: servers compare what they hold with each other; what is stale is shown, with why. */
import { CliError } from "./CliError.ts"
import { type Answered, askServers, type ServersOptions } from "./coherenceServers.ts"
import { type Fields, recordOf, tableOf } from "./Fields.ts"
import type { Reply, RespClient } from "./RespClient.ts"
import { visible } from "./visible.ts"

export interface DoctorOptions extends ServersOptions {
  readonly samples: number
}

/** Ends with 1 where something is stale, and with 2 where nothing could be compared at all. */
export const doctor = async (options: DoctorOptions): Promise<void> => {
  let [stale, samples] = [0, 0]
  const examine = async (client: RespClient): Promise<Fields> => {
    const diagnosis = recordOf(await client.send("COHERENCE", "DOCTOR", "SAMPLES", `${options.samples}`))
    stale += Number(diagnosis.stale)
    samples += Number(diagnosis.samples)
    return diagnosis
  }
  await askServers(options, examine, diagnosesOf, examinationMsMax)
  if (stale > 0) throw new CliError(`${stale} of the sampled entries ${stale === 1 ? "is" : "are"} stale`)
  if (samples === 0) throw new CliError("nothing was compared, so nothing is known of stale reads", nothingCompared)
}

const diagnosesOf = (examined: ReadonlyArray<Answered<Fields>>): string => {
  const rows = examined.map(({ server, answer }) => ({
    server,
    samples: answer.samples,
    asked: answer.asked,
    "lower now": answer.lowerAfter0ms,
    "100 ms": answer.lowerAfter100ms,
    "1 s": answer.lowerAfter1000ms,
    "10 s": answer.lowerAfter10000ms,
    "at most in 10^9": Number(answer.perBillionMax10000ms) > billionthsMax ? "-" : answer.perBillionMax10000ms
  }))
  const lines = examined.flatMap(({ server, answer }) => [
    "",
    visible(`${server}: ${answer.verdict}`),
    ...textsOf(answer.silent).map((name) => `  ${name} has not answered`),
    ...textsOf(answer.traces).map((line) => `  ${line}`)
  ])
  return [tableOf(Object.keys(rows[0] ?? {}), rows), ...lines.map(visible)].join("\n")
}

const billionthsMax = 1e8 // more are too few samples to say anything, as the verdict says

const textsOf = (reply: Reply | undefined): readonly string[] => (reply ?? []) as readonly string[]

const nothingCompared = 2 // exit code: neither a finding nor its absence

const examinationMsMax = 60_000 // 11 seconds, and the time in which so many samples are asked about
