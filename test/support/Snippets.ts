/**
 * The TypeScript of a page in docs/, as a reader would run it. Its ```ts blocks are one program, in their order; the ```text block
 * below one is what that one prints, and where there is none it prints nothing.
 *
 * The program has each line where the page has it, so that an error names the page's line. It imports the package by name, which leads to
 * src here: dist need not be built.
 */
import { execFile } from "node:child_process"
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises"
import { basename, join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"

const root = fileURLToPath(new URL("../..", import.meta.url))
const runFile = promisify(execFile)

/** What a block prints, by the page and when run. */
export interface Printed {
  /** Of the page: where the block ends. */
  readonly line: number
  readonly output: string
}

export interface Program {
  readonly source: string
  readonly printed: ReadonlyArray<Printed>
}

/** The program of a page. `doors` leads from the package's names to files. */
export const programOf = (page: string, doors: ReadonlyMap<string, string>): Program => {
  const lines: Array<string> = []
  const printed: Array<{ line: number; output: string }> = []
  let fence: string | null = null
  for (const [at, line] of page.split("\n").entries()) {
    const mark = /^```(\w*)$/.exec(line)
    const isEnd: boolean = mark !== null && fence !== null
    if (fence === "text" && !isEnd) (printed.at(-1) as { output: string }).output += `${line}\n`
    if (fence === "ts" && isEnd) printed.push({ line: at + 1, output: "" })
    if (fence !== "ts") lines.push("")
    else lines.push(isEnd ? `console.log(${JSON.stringify(marker)})` : throughDoors(line, doors))
    if (mark !== null) fence = isEnd ? null : (mark[1] as string)
  }
  return { source: lines.join("\n"), printed }
}

/** What the compiler says of the page's program; nothing if it is content. */
export const complaints = (page: string): Promise<string> =>
  withProgram(page, async (folder) => {
    const tsc = [join(root, "node_modules/typescript/bin/tsc"), "--noEmit", "-p", folder]
    return runFile(process.execPath, tsc, { cwd: root }).then(
      () => "",
      (error) => String(error.stdout)
    )
  })

/** What each block of the page says that it prints, and what it prints. Fails if the program does not end well by itself. */
export const printedBy = (page: string): Promise<{ said: ReadonlyArray<Printed>; did: ReadonlyArray<Printed> }> =>
  withProgram(page, async (folder, { printed }) => {
    const program = ["--import", "tsx", join(folder, `${basename(page, ".md")}.ts`)]
    const { stdout, stderr } = await runFile(process.execPath, program, { cwd: root, timeout: 60_000 })
    if (stderr !== "") throw new Error(`the program of ${page} complains: ${stderr}`)
    const did = stdout.split(`${marker}\n`).slice(0, -1)
    return {
      said: printed.map(({ line, output }) => ({ line, output: withoutIds(output) })),
      did: did.map((output, at) => ({ line: printed[at]?.line ?? 0, output: withoutIds(output) }))
    }
  })

const marker = "\u0000 the block ends here"

/** Pids count through a whole program; what a page says would change with each process started above it. */
const withoutIds = (output: string): string => output.replace(/<0\.\d+/g, "<0.n")

const throughDoors = (line: string, doors: ReadonlyMap<string, string>): string =>
  line.replace(/(from )"(mimosa-cache[^"]*)"/, (_, from, name) => {
    const door = doors.get(name)
    if (door === undefined) throw new Error(`a snippet imports "${name}", which the package does not export`)
    return `${from}${JSON.stringify(door)}`
  })

const withProgram = async <A>(page: string, use: (folder: string, program: Program) => Promise<A>): Promise<A> => {
  const { exports } = JSON.parse(await readFile(join(root, "package.json"), "utf8"))
  const doors = Object.entries<string | { default: string }>(exports).flatMap(([door, target]): [string, string][] =>
    typeof target === "string"
      ? []
      : [[`mimosa-cache${door.slice(1)}`, target.default.replace("./dist/", "../../src/").replace(/\.js$/, ".ts")]]
  )
  const program = programOf(await readFile(join(root, page), "utf8"), new Map(doors))
  await mkdir(join(root, ".cache"), { recursive: true })
  const folder = await mkdtemp(join(root, ".cache/page-")) // two below the root, where the doors point from
  try {
    await writeFile(join(folder, `${basename(page, ".md")}.ts`), program.source)
    await writeFile(join(folder, "tsconfig.json"), '{ "extends": "../../tsconfig.json", "include": ["*.ts"] }')
    return await use(folder, program)
  } finally {
    await rm(folder, { recursive: true })
  }
}
