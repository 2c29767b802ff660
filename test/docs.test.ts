/** docs/errors.md against the code: every error that a client can meet is on the page. */
import { readFileSync } from "node:fs"
import { expect, it } from "vitest"
import * as mimosa from "../src/index.ts"
import { RespError } from "../src/server/RespError.ts"
import { failureKinds, skipKinds } from "../src/triggers/Trigger.ts"

const page = readFileSync(new URL("../docs/errors.md", import.meta.url), "utf8").replaceAll("\\|", "|")

/** The text with … in the place of what differs. */
const shown = (error: string | ((...args: never[]) => string)): string => {
  if (typeof error === "string") return error
  const args = error === RespError.unknownCommand ? [["…", "…"]] : Array(error.length).fill("…")
  return error(...(args as never[])).trim()
}

it.each(Object.entries(RespError))("docs/errors.md has the answer %s", (_name, error) => {
  expect(page).toContain(`| \`${shown(error)}\` |`)
})

const errors = Object.entries(mimosa).filter(
  ([, value]) => (value as { prototype?: unknown }).prototype instanceof Error
)

it.each(errors.map(([name]) => name))("docs/errors.md has the library's %s", (name) => {
  expect(page).toContain(`| \`${name}\` |`)
})

it.each([...failureKinds, ...skipKinds.map((kind) => `skipped:${kind}`)])(
  "docs/errors.md has %s of TRIGGER LOG",
  (kind) => {
    expect(page).toMatch(new RegExp(`^\\|[^|]*\`${kind}\`[^|]*\\|`, "m"))
  }
)
