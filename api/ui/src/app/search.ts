// What fits words that a person typed.

const split = (words: string) => words.toLowerCase().split(/\s+/).filter(Boolean)

// hasWords reports whether all words are somewhere in a text.
export const hasWords = (text: string, words: string) => split(words).every((word) => text.toLowerCase().includes(word))

// score is how well a text fits words: all must be in it, beginnings of its words count
// more. -1 does not fit.
export function score(text: string, words: string): number {
  const t = text.toLowerCase()
  let sum = 0
  for (const word of split(words)) {
    const i = t.indexOf(word)
    if (i < 0) return -1
    sum += i === 0 ? 3 : /[\s/\-_.]/.test(t[i - 1]) ? 2 : 1
  }
  return sum
}
