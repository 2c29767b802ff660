/** Programs that change files without end, and are killed in the middle of it. */
import { spawn } from "node:child_process"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { expect } from "vitest"

/**
 * Runs a program of this folder on the directory, from version `first`, and kills it once it has reported `count`
 * versions; answers the last one reported.
 */
export const untilKilled = async (
  name: "ChangeForEver" | "ReplaceForEver",
  directory: string,
  first: number,
  count: number
): Promise<number> => {
  const program = fileURLToPath(new URL(`./${name}.ts`, import.meta.url))
  const child = spawn(process.execPath, ["--import", "tsx", program, directory, String(first)], {
    stdio: ["ignore", "pipe", "inherit"]
  })
  const gone = new Promise<[number | null, NodeJS.Signals | null]>((resolve) =>
    child.once("exit", (code, signal) => resolve([code, signal]))
  )
  let reported = 0
  for await (const line of createInterface(child.stdout)) {
    reported = Number(line)
    if (reported >= first + count) child.kill("SIGKILL")
  }
  expect(await gone).toEqual([null, "SIGKILL"])
  return reported
}
