/**
 * The second process of an example: the same file, started once more. The first asks it questions by name, it answers
 * what the function of that name returns. Mimosa is not involved in this: it is how the examples prove what they say.
 */
import { fork } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"

/** Whether this is the second process. */
export const isSecond = process.env.EXAMPLE_NAMESPACE !== undefined

/** What both processes call their namespace; one that no other run has. */
export const namespace = process.env.EXAMPLE_NAMESPACE ?? `example-${process.pid}`

/** Starts the second process. */
export const startSecond = (url: string) => {
  const child = fork(fileURLToPath(url), { env: { ...process.env, EXAMPLE_NAMESPACE: namespace } })
  const ask = async (question: string, ...args: unknown[]): Promise<unknown> => {
    child.send({ question, args })
    const [answer] = await once(child, "message")
    return answer
  }
  const end = async () => {
    child.send({ question: "end", args: [] })
    await once(child, "exit")
  }
  return { ask, end }
}

/** Answers the first process' questions until it says "end". */
export const answer = async (questions: Record<string, (...args: never[]) => unknown>) => {
  for (;;) {
    const [{ question, args }] = await once(process, "message")
    if (question === "end") break
    process.send?.((await questions[question]?.(...(args as never[]))) ?? null)
  }
  process.disconnect()
}
