/** What the prelude asks of the host: lines for print, and time for the os library. */
import type { HostFunction } from "../HostCall.ts"
import { epochSecondsOf, formatDate } from "./calendar.ts"

/** What a run reads of time. Injected, so that tests own it. */
export interface VmClock {
  /** Milliseconds since 1970, for os.time and os.date. */
  epochMs(): number
  /** Milliseconds from some moment, with fractions; never goes back. For limits and os.clock. */
  elapsedMs(): number
}

export const systemClock: VmClock = { epochMs: () => Date.now(), elapsedMs: () => performance.now() }

export const makeIntrinsics = (
  clock: VmClock,
  print: ((line: string) => void) | undefined
): Record<string, HostFunction> => ({
  print: (call) => {
    const line = call.string(1) ?? ""
    if (call.charge(line.length * printFuel)) print?.(line)
  },
  clock: (call) => call.returnNumber(clock.elapsedMs() / 1000),
  now: (call) => call.returnInteger(Math.floor(clock.epochMs() / 1000)),
  date: (call) => {
    const format = call.string(1) ?? ""
    if (format.length > dateFormatMax) return call.fail(`os.date: a format is at most ${dateFormatMax} bytes long`)
    if (!call.charge(format.length * dateFuel)) return
    const date = formatDate(format, call.number(2) ?? 0)
    if (date === undefined) call.returnNil()
    else call.returnValue(date)
  },
  time: (call) => {
    const part = (index: number) => call.number(index) ?? 0
    const seconds = epochSecondsOf(part(1), part(2), part(3), part(4), part(5), part(6))
    if (seconds === undefined) call.returnNil()
    else call.returnInteger(seconds)
  }
})

const printFuel = 1 // units a byte, for whoever takes the line: as text, it may have to be decoded

const dateFormatMax = 512 // bytes of os.date's format; all conversions, it takes a sixth of a millisecond at once
const dateFuel = 125 // units a byte of it: a conversion has two and takes up to a microsecond
