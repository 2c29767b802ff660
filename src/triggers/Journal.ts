/**
 * The process that writes what triggers log: one structured record a line, through Effect's Logger, after the operation
 * that logged it has returned. Its mailbox is the buffer: when triggers log faster than lines can be written, the
 * oldest lines are dropped and counted. A line that is very long is cut, so what waits is bounded in bytes as well.
 * What waits when it is asked to end is written first.
 */
import { Context, Effect, Layer } from "effect"
import { GenServer, type Pid, Process, Registry, type Supervisor } from "../actor/index.ts"
import { asText, cutText } from "../cache/index.ts"
import { byteSize, type Nested } from "../kernel/index.ts"
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
      offer: (line) => GenServer.unsafeOffer(name, bounded(line)),
      dropped: () => {
        const writer = GenServer.whereis(name)
        return droppedBefore + (writer === null ? 0 : droppedBy(writer))
      },
      childSpec: GenServer.childSpec(Writer, { onEnd: (dropped: number) => (droppedBefore += dropped) }, { name })
    }
  })
}

const linesMax = 10_000 // lines that wait; about a second of a busy server's
const lineBytesMax = 16 * 1024 // bytes of a line's message or fields
const keyLengthMax = 256 // characters of a key that a line keeps
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

/** The line itself, or what there is room for of it: of fields that are too long the beginning of their JSON. */
const bounded = (line: TriggerLine): TriggerLine => {
  const { key, message, fields } = line
  const areLong = fields !== null && byteSize(fields as Nested) > lineBytesMax
  if (!areLong && key.length <= keyLengthMax && (message?.length ?? 0) <= lineBytesMax) return line
  return {
    ...line,
    key: cutText(key, keyLengthMax),
    message: message === null ? null : cutText(message, lineBytesMax),
    fields: areLong ? { cut: cutText(JSON.stringify(fields), lineBytesMax) } : fields
  }
}

const write = ({ message, stream, fields, tenant, trigger, event, key, cascade }: TriggerLine): Effect.Effect<void> =>
  Effect.logInfo(message ?? stream ?? "").pipe(
    Effect.annotateLogs({
      ...fields,
      ...(stream === null ? {} : { stream }),
      ...(tenant === undefined ? {} : { [logAnnotation.tenant]: tenant }),
      [logAnnotation.trigger]: trigger,
      [logAnnotation.event]: event,
      [logAnnotation.key]: asText(key),
      cascade
    })
  )

const droppedBy = (journal: Pid.Pid): number => Process.info(journal).mailbox.dropped
