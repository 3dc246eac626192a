// A card that shows a list of the cluster, and how such a list is asked for.
import type { ComponentChildren } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { Refused, json } from './api'
import { Blank, every } from './parts'

// useAsked asks for what a part shows, again and again. It returns why that is refused,
// '' if it is not.
export function useAsked<T>(path: string, into: { value: T | null }, take: (a: any) => T, ms = 4000): string {
  const [refused, setRefused] = useState('')
  useEffect(() => setRefused(''), [path])
  every(
    ms,
    async () => {
      try {
        into.value = take(await json(path))
        setRefused('')
      } catch (e) {
        if (e instanceof Refused && e.status < 500) setRefused(e.message)
      }
    },
    path,
  )
  return refused
}

export function Card({ title, note, list, refused, blank, children }: { title: string; note: string; list: unknown[] | null; refused?: string; blank: ComponentChildren; children: ComponentChildren }) {
  return (
    <section class="card" aria-label={title}>
      <h2 class="cardh">
        {title} <small>{note}</small>
      </h2>
      {refused ? (
        <Blank title="This token may not look at it">
          <p>{refused}</p>
        </Blank>
      ) : list === null ? (
        <Blank title="Asking the cluster" />
      ) : list.length === 0 ? (
        blank
      ) : (
        children
      )}
    </section>
  )
}
