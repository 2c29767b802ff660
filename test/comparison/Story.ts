/** What a story tells of one library: what was done, what was true in the end, and what each instance then read. */
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

export interface Outcome {
  /** Library and version. */
  readonly subject: string
  /** How it was set up, and by whose advice. */
  readonly settings: string
  readonly steps: ReadonlyArray<string>
  /** What reads may give; the same for all. */
  readonly truth: ReadonlyArray<string>
  /** What the reads gave, by instance. */
  readonly read: Readonly<Record<string, string | undefined>>
}

/** True when every instance reads the truth, and the same one. */
export const isFresh = ({ read, truth }: Outcome): boolean =>
  truth.some((value) => Object.values(read).every((other) => other === value))

/** Prints outcomes; for the scripts. */
export const print = (title: string, outcomes: ReadonlyArray<Outcome>): void => {
  console.log(`${title}\n`)
  for (const outcome of outcomes) {
    console.log(`${outcome.subject}: ${outcome.settings}`)
    for (const step of outcome.steps) console.log(`  ${step}`)
    const read = Object.entries(outcome.read).map(([instance, value]) => `${instance} reads ${value ?? "nothing"}`)
    console.log(
      `  => true is ${outcome.truth.join(" or ")}; ${read.join(", ")}: ${isFresh(outcome) ? "fresh" : "NOT FRESH"}\n`
    )
  }
}

/** Runs the body when the file is the program, not when a test imports it. */
export const whenRun = (url: string, body: () => Promise<void>): void => {
  if (process.argv[1] !== fileURLToPath(url)) return
  body().then(
    () => process.exit(0), // their clients keep sockets open
    (error) => {
      console.error(error)
      process.exit(1)
    }
  )
}

/** The version of an installed package. */
export const versionOf = (name: string): string =>
  JSON.parse(readFileSync(new URL(`../../node_modules/${name}/package.json`, import.meta.url), "utf8")).version

/** Waits for what is known to come about, whatever time it takes. */
export const until = async (holds: () => boolean | Promise<boolean>): Promise<void> => {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 2))
}

/** The database behind the caches: answers with the value of the moment at which it was asked, when it is let. */
export class Database {
  value = "1"
  readonly asked: Promise<void>
  private readonly answers: Promise<void>
  private tellAsked: () => void = () => {}
  private tellAnswer: () => void = () => {}

  constructor() {
    this.asked = new Promise((resolve) => {
      this.tellAsked = resolve
    })
    this.answers = new Promise((resolve) => {
      this.tellAnswer = resolve
    })
  }

  readonly load = async (): Promise<string> => {
    const { value } = this
    this.tellAsked()
    await this.answers
    return value
  }

  /** Lets the answers go, those that wait and those to come. */
  answer(): void {
    this.tellAnswer()
  }
}
