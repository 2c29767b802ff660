/**
 * The process that writes what triggers log: one structured record a line, through Effect's Logger, after the operation
 * that logged it has returned. Its mailbox is the buffer: when triggers log faster than lines can be written, the oldest
 * lines are dropped and counted. What waits when it is asked to end is written first.
 */
import { Context, Effect, Layer } from "effect"
import { GenServer, type Pid, Process, Registry, type Supervisor } from "../actor/index.ts"
import { toText } from "../cache/index.ts"
import { logAnnotation } from "../telemetry/index.ts"
import type { TriggerLine } from "./Effects.ts"

export interface JournalService {
  /** Takes a line; false when there is nobody to write it. Never waits. */
  readonly offer: (line: TriggerLine) => boolean
  /** Lines that newer ones pushed out before they were written. */
  readonly dropped: () => number
  readonly childSpec: Supervisor.ChildSpec<Process.Self>
}

export class Journal extends Context.Tag("mimosa-cache/triggers/Journal")<Journal, JournalService>() {
  static readonly layer: Layer.Layer<Journal> = Layer.sync(Journal, () => {
    const names = Registry.unsafeMake({ keys: "unique" })
    const name = Registry.via<GenServer.RefOf<JournalProtocol>>(names, "journal")
    let droppedBefore = 0
    return {
      offer: (line) => GenServer.unsafeOffer(name, line),
      dropped: () => {
        const writer = GenServer.whereis(name)
        return droppedBefore + (writer === null ? 0 : droppedBy(writer))
      },
      childSpec: GenServer.childSpec(Writer, { onEnd: (dropped: number) => (droppedBefore += dropped) }, { name })
    }
  })
}

const linesMax = 10_000 // lines that wait; about a second of a busy server's
const turnLinesMax = 16 // lines a turn of the event loop; a line takes 20 to 50 µs of Effect's Logger

interface JournalProtocol extends GenServer.Protocol {
  readonly cast: TriggerLine
}

const Writer = GenServer.define<JournalProtocol>()({
  name: "journal",
  trapExit: true, // its parent's wish that it ends comes behind the lines that wait
  mailbox: { capacity: linesMax, overflow: "dropOldest" },
  init: ({ onEnd }: { readonly onEnd: (dropped: number) => void }) =>
    Effect.map(Process.self, (self) => {
      Process.onExit(self, () => onEnd(droppedBy(self)))
      return GenServer.Ok({ self, written: 0 })
    }),
  handleCast: (line, { self, written }) =>
    Effect.as(
      written % turnLinesMax === 0 ? Effect.zipRight(Process.nextTurn, write(line)) : write(line),
      GenServer.NoReply({ self, written: written + 1 })
    ),
  inspect: ({ self, written }) => ({ written, dropped: droppedBy(self) })
})

const write = ({ message, stream, fields, trigger, event, key, cascade }: TriggerLine): Effect.Effect<void> =>
  Effect.logInfo(message ?? stream ?? "").pipe(
    Effect.annotateLogs({
      ...fields,
      ...(stream === null ? {} : { stream }),
      [logAnnotation.trigger]: trigger,
      [logAnnotation.event]: event,
      [logAnnotation.key]: toText(key) ?? key,
      cascade
    })
  )

const droppedBy = (journal: Pid.Pid): number => Process.info(journal).mailbox.dropped
