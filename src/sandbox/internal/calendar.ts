/** os.date and os.time of Lua, always in UTC and with the names of the C locale. Manual §6.9; conversions of C99's strftime. */
import type { LuaValue } from "../LuaCodec.ts"

/** What os.date answers: a string, a table for `*t`, or `undefined` for a conversion that C99 does not know. */
export const formatDate = (format: string, epochSeconds: number): LuaValue | undefined => {
  const at = new Date(epochSeconds * 1000)
  if (Number.isNaN(at.getTime())) return undefined
  const plain = format.startsWith("!") ? format.slice(1) : format
  if (plain.startsWith("*t")) return dateTable(at)
  let isKnown = true
  const text = plain.replace(/%([EO]?)([\s\S]?)/g, (_, _alternative: string, conversion: string) => {
    const convert = conversions[conversion]
    if (convert === undefined) isKnown = false
    return convert?.(at) ?? ""
  })
  return isKnown ? text : undefined
}

/** Seconds since 1970 of a date whose parts may lie outside their usual ranges; `undefined` when there is no such date. */
export const epochSecondsOf = (
  year: number,
  month: number,
  day: number,
  hour: number,
  minute: number,
  second: number
): number | undefined => {
  const at = new Date(0)
  at.setUTCFullYear(year, month - 1, day) // unlike Date.UTC it takes the years 0 to 99 as they are
  at.setUTCHours(hour, minute, second)
  return Number.isNaN(at.getTime()) ? undefined : at.getTime() / 1000
}

const dateTable = (at: Date): LuaValue => ({
  year: at.getUTCFullYear(),
  month: at.getUTCMonth() + 1,
  day: at.getUTCDate(),
  hour: at.getUTCHours(),
  min: at.getUTCMinutes(),
  sec: at.getUTCSeconds(),
  wday: at.getUTCDay() + 1,
  yday: dayOfYear(at) + 1,
  isdst: false
})

const conversions: Readonly<Record<string, (at: Date) => string>> = {
  a: (at) => weekday(at).slice(0, 3),
  A: (at) => weekday(at),
  b: (at) => month(at).slice(0, 3),
  B: (at) => month(at),
  c: (at) =>
    `${weekday(at).slice(0, 3)} ${month(at).slice(0, 3)} ${pad(at.getUTCDate(), 2, " ")} ${time(at)} ${at.getUTCFullYear()}`,
  C: (at) => pad(Math.floor(at.getUTCFullYear() / 100)),
  d: (at) => pad(at.getUTCDate()),
  D: (at) => americanDate(at),
  e: (at) => pad(at.getUTCDate(), 2, " "),
  F: (at) => at.toISOString().replace(/T.*/, ""),
  g: (at) => pad(isoWeek(at).year % 100),
  G: (at) => String(isoWeek(at).year),
  h: (at) => month(at).slice(0, 3),
  H: (at) => pad(at.getUTCHours()),
  I: (at) => pad(at.getUTCHours() % 12 || 12),
  j: (at) => pad(dayOfYear(at) + 1, 3),
  m: (at) => pad(at.getUTCMonth() + 1),
  M: (at) => pad(at.getUTCMinutes()),
  n: () => "\n",
  p: (at) => halfDay(at),
  r: (at) => `${pad(at.getUTCHours() % 12 || 12)}:${pad(at.getUTCMinutes())}:${pad(at.getUTCSeconds())} ${halfDay(at)}`,
  R: (at) => `${pad(at.getUTCHours())}:${pad(at.getUTCMinutes())}`,
  S: (at) => pad(at.getUTCSeconds()),
  t: () => "\t",
  T: (at) => time(at),
  u: (at) => String(at.getUTCDay() || 7),
  U: (at) => pad(weekFrom(at, 0)),
  V: (at) => pad(isoWeek(at).week),
  w: (at) => String(at.getUTCDay()),
  W: (at) => pad(weekFrom(at, 1)),
  x: (at) => americanDate(at),
  X: (at) => time(at),
  y: (at) => pad(at.getUTCFullYear() % 100),
  Y: (at) => String(at.getUTCFullYear()),
  z: () => "+0000",
  Z: () => "GMT",
  "%": () => "%"
}

const pad = (value: number, width = 2, fill = "0"): string => String(value).padStart(width, fill)

const time = (at: Date): string => `${pad(at.getUTCHours())}:${pad(at.getUTCMinutes())}:${pad(at.getUTCSeconds())}`

const americanDate = (at: Date): string =>
  `${pad(at.getUTCMonth() + 1)}/${pad(at.getUTCDate())}/${pad(at.getUTCFullYear() % 100)}`

const halfDay = (at: Date): string => (at.getUTCHours() < 12 ? "AM" : "PM")

const dayMs = 86_400_000

const dayOfYear = (at: Date): number => {
  const first = new Date(at)
  first.setUTCMonth(0, 1)
  return Math.round((at.getTime() - first.getTime()) / dayMs)
}

/** Week of the year, where weeks begin on this day (0: Sunday) and what lies before the first one is week 0. */
const weekFrom = (at: Date, firstDay: number): number =>
  Math.floor((dayOfYear(at) + 7 - ((at.getUTCDay() + 7 - firstDay) % 7)) / 7)

/** ISO 8601: the week belongs to the year of its Thursday. */
const isoWeek = (at: Date): { readonly year: number; readonly week: number } => {
  const thursday = new Date(at.getTime() + (4 - (at.getUTCDay() || 7)) * dayMs)
  return { year: thursday.getUTCFullYear(), week: Math.floor(dayOfYear(thursday) / 7) + 1 }
}

const weekday = (at: Date): string => weekdays[at.getUTCDay()] as string

const month = (at: Date): string => months[at.getUTCMonth()] as string

const weekdays = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]

const months = [
  "January",
  "February",
  "March",
  "April",
  "May",
  "June",
  "July",
  "August",
  "September",
  "October",
  "November",
  "December"
]
