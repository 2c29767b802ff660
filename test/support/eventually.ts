/** Waits for what other processes bring about in their own time; the test's own limit ends a wait in vain. */
export const eventually = async (holds: () => boolean | Promise<boolean>): Promise<void> => {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, lookEveryMs))
}

const lookEveryMs = 5
