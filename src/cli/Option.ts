/**
 * An option of a command as data: what is parsed, what help shows and which environment variable stands in for it come
 * from the same row.
 */
import { bytesOf, sizeOf } from "../server/ByteSize.ts"
import { CliError } from "./CliError.ts"

export interface OptionRow<A> {
  readonly name: string
  /** What stands for its value in help, as `<port>`; null for a flag. */
  readonly placeholder: string | null
  readonly meaning: string
  /** What help says of its default; empty for none. */
  readonly byDefault: string
  /** The environment variable that is asked when the option is not given. */
  readonly variable: string | null
  readonly isRepeatable: boolean
  /**
   * Without which it would say nothing: fields of other options that have to have a value, any or this one. Looked at
   * where it is on the command line; a variable may be there for other programs.
   */
  readonly needs: Needs
  /** Its value out of the texts that were given. `source` names where they are from: `--port`, or `MIMOSA_PORT`. */
  readonly read: (texts: readonly string[], source: string) => A | CliError
}

export type Needs = Readonly<Record<string, "any" | { readonly only: string }>>

interface Described {
  readonly meaning: string
  readonly variable?: string
  readonly needs?: Needs
}

export const flag = (name: string, { meaning }: Described): OptionRow<boolean> => ({
  ...row(name, null, "", { meaning }),
  read: (texts) => texts.length > 0
})

/** A text; `undefined` when it was left out and has no default. One that has a default cannot be empty. */
export const text: {
  (name: string, placeholder: string, described: Described & { readonly byDefault: string }): OptionRow<string>
  (name: string, placeholder: string, described: Described): OptionRow<string | undefined>
} = (name: string, placeholder: string, described: Described & { readonly byDefault?: string }): OptionRow<never> => ({
  ...row(name, placeholder, described.byDefault ?? "", described),
  read: ([text], source) => {
    const isMissing = text === "" && described.byDefault !== undefined
    return (isMissing ? refuse(`${source} is empty`) : (text ?? described.byDefault)) as never
  }
})

/** Texts, in the order in which they were given. */
export const texts = (name: string, placeholder: string, described: Described): OptionRow<readonly string[]> => ({
  ...row(name, placeholder, "", described),
  isRepeatable: true,
  read: (given) => given
})

/** A whole number from `min` to `max`; `undefined` when it was left out and has no default. */
export const integer: {
  (name: string, placeholder: string, described: Bounds & { readonly byDefault: number }): OptionRow<number>
  (name: string, placeholder: string, described: Bounds): OptionRow<number | undefined>
} = (name: string, placeholder: string, described: Bounds & { readonly byDefault?: number }): OptionRow<never> => ({
  ...row(name, placeholder, described.byDefault === undefined ? "" : String(described.byDefault), described),
  read: ([text], source) => {
    if (text === undefined) return described.byDefault as never
    const { min, max } = described
    const value = /^-?\d+$/.test(text) ? Number(text) : Number.NaN
    if (value >= min && value <= max) return value as never
    return refuse(`${source} is a whole number from ${min} to ${max}, not '${text.slice(0, 40)}'`) as never
  }
})

/** Bytes, as `bytesOf` reads them: `64mb`. */
export const bytes = (
  name: string,
  placeholder: string,
  described: Bounds & { readonly byDefault: number }
): OptionRow<number> => ({
  ...row(name, placeholder, sizeOf(described.byDefault), described),
  read: ([text], source) => {
    if (text === undefined) return described.byDefault
    const { min, max } = described
    const value = bytesOf(text)
    if (value >= min && value <= max) return value
    return refuse(
      `${source} is a number of bytes such as 67108864, 64mb or 1gb, from ${sizeOf(min)} to ${sizeOf(max)}, not '${text.slice(0, 40)}'`
    )
  }
})

interface Bounds extends Described {
  readonly min: number
  readonly max: number
}

/** One of a few words; `undefined` when it was left out. */
export const choice = <const A extends string>(
  name: string,
  words: readonly A[],
  described: Described & { readonly byDefault: string }
): OptionRow<A | undefined> => ({
  ...row(name, words.join("|"), described.byDefault, described),
  read: ([text], source) => {
    const word = words.find((word) => word === text)
    return text === undefined || word !== undefined
      ? word
      : refuse(`${source} is one of ${words.join(", ")}, not '${text.slice(0, 40)}'`)
  }
})

const row = (name: string, placeholder: string | null, byDefault: string, described: Described) => ({
  name,
  placeholder,
  meaning: described.meaning,
  byDefault,
  variable: described.variable ?? null,
  isRepeatable: false,
  needs: described.needs ?? {}
})

const refuse = (message: string): CliError => new CliError(message)
