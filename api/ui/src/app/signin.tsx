// Who may look: a token that is entered, or a one-time code in the address.
import { signal } from '@preact/signals'
import { useEffect, useRef } from 'preact/hooks'
import { Refused, json, setNodes, setSignedIn, setToken, token } from './api'
import { Brand } from './icons'
import { Command } from './parts'
import { who } from './store'
import type { Who } from './types'

const failed = signal('')
const busy = signal(false)
// entering is set while a token that was kept is tried.
export const entering = signal(false)

// enter finds out who a token belongs to, and keeps it if a node accepts it.
export async function enter(t: string) {
  busy.value = true
  failed.value = ''
  setToken(t.trim())
  try {
    const me = await json<Who>('/api/v1/whoami')
    if (me.role === 'worker') throw new Refused(403, 'forbidden', 'This token is of an external worker; it may not look at runs.')
    setNodes(me.addresses ?? [])
    who.value = me
  } catch (e) {
    if (e instanceof Refused) {
      failed.value = e.message
      setToken('')
    } else {
      failed.value = 'No node answers. Trying again.'
      setTimeout(() => token.value && !who.value && enter(token.value), 2000)
    }
  } finally {
    busy.value = false
  }
}

// fromAddress exchanges the code that pipelined ui put into the address, and
// takes it out of there: it is of use once.
export async function fromAddress() {
  const code = new URLSearchParams(location.hash.slice(1)).get('code')
  if (code) {
    history.replaceState(null, '', location.pathname + location.search)
    try {
      const { token: t } = await json<{ token: string }>('/api/v1/signin', { method: 'POST', body: { code } })
      setSignedIn(t)
    } catch (e) {
      failed.value = e instanceof Refused ? e.message : 'No node answers.'
      return
    }
  }
  if (!token.value) return
  entering.value = true
  await enter(token.value)
  entering.value = false
}

export function SignIn() {
  const field = useRef<HTMLInputElement>(null)
  useEffect(() => field.current!.focus(), []) // autofocus makes the browser complain if a person was faster
  return (
    <main class="signin">
      <form
        class="card"
        onSubmit={(e) => {
          e.preventDefault()
          enter(new FormData(e.currentTarget).get('token') as string)
        }}
      >
        <div class="brand">
          <Brand />
          pipelined
        </div>
        <h1>Sign in</h1>
        <p>On a machine of the cluster, this opens the dashboard signed in:</p>
        <Command text="pipelined ui" />
        <p>Elsewhere enter a token. This creates one that may look, and one that may also submit, cancel and approve:</p>
        <Command text="pipelined token create -role read" />
        <Command text="pipelined token create -role submit" />
        <label>
          <span>Token</span>
          <input name="token" type="password" autocomplete="off" required ref={field} spellcheck={false} aria-describedby="failed" />
        </label>
        <p id="failed" class="s-bad" role="alert">
          {failed.value}
        </p>
        <button class="btn pri" disabled={busy.value}>
          Sign in
        </button>
      </form>
    </main>
  )
}
