/** `mimosa top`: the supervision tree of a running server, once or as a live view, over its HTTP port. */
import { CliError } from "./CliError.ts"
import { type HttpAddress, httpGet } from "./httpGet.ts"
import { print } from "./print.ts"
import { picture, type Sample, sampleOf } from "./TopPicture.ts"

export interface TopOptions extends HttpAddress {
  readonly once: boolean
  readonly json: boolean
}

export const top = async (options: TopOptions): Promise<void> => {
  const ask = () => sample(options)
  if (options.json) return print((await ask()).tree)
  const { stdin, stdout } = process
  if (options.once || !stdout.isTTY || !stdin.isTTY) return print(picture(await ask()).join("\n"))
  return watch(ask, processTerminal(), nextSecond)
}

const sample = async (address: HttpAddress): Promise<Sample> => {
  const [processes, metrics] = await Promise.all([httpGet(address, "/v1/processes"), httpGet(address, "/metrics")])
  try {
    return sampleOf(processes, metrics, Date.now())
  } catch {
    throw new CliError(`what answers on ${address.host}:${address.port} is no Mimosa; is that its HTTP port?`)
  }
}

/** A screen and its keyboard. */
export interface Terminal {
  readonly columns: () => number
  readonly rows: () => number
  readonly write: (text: string) => void
  /** Calls back with what is typed. The returned function ends that. */
  readonly onInput: (listener: (keys: string) => void) => () => void
}

/**
 * Draws a picture, waits, and draws the next in its place, until q or Ctrl-C is typed. A server that is away for a while
 * is asked again each time; one that was never there is an error.
 */
export const watch = async (
  ask: () => Promise<Sample>,
  terminal: Terminal,
  wait: (isOver: Promise<void>) => Promise<void>
): Promise<void> => {
  let before = await ask()
  let lines = picture(before)
  let leave = () => {}
  let hasLeft = false
  const left = new Promise<void>((resolve) => {
    leave = () => {
      hasLeft = true
      resolve()
    }
  })
  const forget = terminal.onInput((keys) => {
    if (leaveKeys.some((key) => keys.includes(key))) leave()
  })
  terminal.write(enterScreen)
  try {
    while (!hasLeft) {
      terminal.write(frame(lines, terminal))
      await wait(left)
      if (hasLeft) return
      try {
        const now = await Promise.race([ask(), left])
        if (now === undefined) return
        lines = picture(now, before)
        before = now
      } catch (error) {
        lines = [`${error instanceof Error ? error.message : String(error)}`, ...lines.slice(1)]
      }
    }
  } finally {
    forget()
    terminal.write(leaveScreen)
  }
}

/** The lines from the top left corner on, cut to the screen; what was there before is wiped out. */
const frame = (lines: readonly string[], { columns, rows }: Terminal): string => {
  const fits = lines.length <= rows()
  const shown = fits ? lines : [...lines.slice(0, rows() - 1), `… ${lines.length - rows() + 1} more lines`]
  return `${home}${shown.map((line) => line.slice(0, columns()) + wipeLine).join("\r\n")}${wipeBelow}`
}

const leaveKeys = ["q", "Q", "\x03"] // the last is what Ctrl-C types where the terminal is raw

// Source: ECMA-48 and xterm's private modes.
const enterScreen = "\x1b[?1049h\x1b[?25l" // the alternate screen, no cursor
const leaveScreen = "\x1b[?25h\x1b[?1049l"
const home = "\x1b[H"
const wipeLine = "\x1b[K"
const wipeBelow = "\x1b[J"

const processTerminal = (): Terminal => {
  const { stdin, stdout } = process
  return {
    columns: () => stdout.columns || 80, // 0 where a terminal does not say
    rows: () => stdout.rows || 24,
    write: (text) => void stdout.write(text),
    onInput: (listener) => {
      const onData = (bytes: Buffer) => listener(bytes.toString())
      stdin.setRawMode(true)
      stdin.on("data", onData)
      return () => {
        stdin.off("data", onData)
        stdin.setRawMode(false)
        stdin.pause()
      }
    }
  }
}

const nextSecond = (isOver: Promise<void>): Promise<void> =>
  Promise.race([isOver, new Promise<void>((resolve) => setTimeout(resolve, 1_000))])
