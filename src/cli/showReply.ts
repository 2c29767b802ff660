/**
 * Replies as a person reads them: as redis-cli shows them, and with text in every alphabet as it is.
 * Source: Redis 7.0, redis-cli.c, cliFormatReplyTTY.
 */
import type { ReadReply } from "./RespReader.ts"

/** A reply in one or more lines, without the end of the last. */
export const showReply = (reply: ReadReply): string => shown(reply, "")

/** A reply for programs: its text alone, items line by line. */
export const rawReply = (reply: ReadReply): string => {
  switch (reply.kind) {
    case "nil":
      return ""
    case "boolean":
      return String(reply.value)
    case "map":
      return reply.pairs.map(([key, value]) => `${rawReply(key)}\n${rawReply(value)}`).join("\n")
    case "array":
    case "set":
    case "push":
      return reply.items.map(rawReply).join("\n")
    default:
      return reply.text
  }
}

/** `margin` is what stands before every line but the first. */
const shown = (reply: ReadReply, margin: string): string => {
  switch (reply.kind) {
    case "simple":
    case "verbatim":
      return reply.text
    case "error":
      return `(error) ${reply.text}`
    case "bulk":
      return quoted(reply.text)
    case "integer":
      return `(integer) ${reply.text}`
    case "double":
      return `(double) ${reply.text}`
    case "big":
      return reply.text
    case "boolean":
      return `(${reply.value})`
    case "nil":
      return "(nil)"
    case "map":
      return list(
        reply.pairs.map(([key, value]) => (inner: string) => {
          const name = shown(key, inner)
          return `${name} => ${shown(value, inner)}`
        }),
        "#",
        "(empty hash)",
        margin
      )
    default:
      return list(
        reply.items.map((item) => (inner: string) => shown(item, inner)),
        reply.kind === "set" ? "~" : ")",
        reply.kind === "set" ? "(empty set)" : "(empty array)",
        margin
      )
  }
}

/** Numbered items; those with several lines of their own keep them below the first. */
const list = (
  items: ReadonlyArray<(margin: string) => string>,
  mark: string,
  empty: string,
  margin: string
): string => {
  if (items.length === 0) return empty
  const width = String(items.length).length
  const inner = margin + " ".repeat(width + 2)
  return items
    .map((item, at) => `${at === 0 ? "" : margin}${String(at + 1).padStart(width)}${mark} ${item(inner)}`)
    .join("\n")
}

/** Bytes in double quotes, such that the shell reads them as the same bytes. */
const quoted = (bytes: string): string => {
  const text = asText(bytes)
  return `"${(text ?? bytes).replace(text === undefined ? notPrintable : notText, spelt)}"`
}

const asText = (bytes: string): string | undefined => {
  try {
    return strictUtf8.decode(Buffer.from(bytes, "latin1"))
  } catch {
    return undefined
  }
}

const spelt = (character: string): string =>
  named[character] ?? [...Buffer.from(character, character > "\xff" ? "utf8" : "latin1")].map(hex).join("")

const hex = (byte: number): string => `\\x${byte.toString(16).padStart(2, "0")}`

const named: Readonly<Record<string, string>> = {
  '"': '\\"',
  "\\": "\\\\",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\x07": "\\a",
  "\b": "\\b"
}

const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
// Control characters, and those that turn the order of text around or hide it.
const notText = /["\\\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cn}]/gu
const notPrintable = /["\\]|[^\x20-\x7e]/g
