/**
 * The process that writes what triggers log: one structured record a line, through Effect's Logger, after the operation
 * that logged it has returned. Its mailbox is the buffer: when triggers log faster than lines can be written, the oldest
 * lines are dropped and counted.
 */
import { Context, Effect, Layer } from "effect"
import { GenServer, type Process, Registry, type Supervisor } from "../actor/index.ts"
import { logAnnotation } from "../telemetry/index.ts"
import type { TriggerLine } from "./TriggerRunner.ts"

export interface JournalService {
  /** Takes a line; false when there is nobody to write it. Never waits. */
  readonly offer: (line: TriggerLine) => boolean
  readonly childSpec: Supervisor.ChildSpec<Process.Self>
}

export class Journal extends Context.Tag("mimosa-cache/triggers/Journal")<Journal, JournalService>() {
  static readonly layer: Layer.Layer<Journal> = Layer.sync(Journal, () => {
    const names = Registry.unsafeMake({ keys: "unique" })
    const name = Registry.via<GenServer.RefOf<JournalProtocol>>(names, "journal")
    return {
      offer: (line) => GenServer.unsafeOffer(name, line),
      childSpec: GenServer.childSpec(Writer, undefined, { name })
    }
  })
}

const linesMax = 10_000 // lines that wait; about a second of a busy server's

interface JournalProtocol extends GenServer.Protocol {
  readonly cast: TriggerLine
}

const Writer = GenServer.define<JournalProtocol>()({
  name: "journal",
  mailbox: { capacity: linesMax, overflow: "dropOldest" },
  init: () => GenServer.Ok(0),
  handleCast: (line, written) =>
    Effect.as(
      Effect.logInfo(line.message ?? line.stream ?? "").pipe(
        Effect.annotateLogs({
          ...line.fields,
          ...(line.stream === null ? {} : { stream: line.stream }),
          [logAnnotation.trigger]: line.trigger,
          [logAnnotation.event]: line.event,
          [logAnnotation.key]: line.key,
          cascade: line.cascade
        })
      ),
      GenServer.NoReply(written + 1)
    ),
  inspect: (written) => ({ written })
})
