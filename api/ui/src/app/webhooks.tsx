// Webhooks: where events are sent, and what came of it.
import { signal } from '@preact/signals'
import { Card, useAsked } from './card'
import { coarse, count, seconds } from './format'
import { Shape, type Kind } from './icons'
import { Act, Blank, Command, Table, cli, offer } from './parts'
import { now } from './store'

interface Delivery { event: string; at: string; accepted: boolean; status?: number; text?: string; nextAt?: string }
interface Webhook { name: string; url: string; types?: string[]; pipelines?: string[]; format?: string; config?: boolean; off?: string; waiting: number; givenUp: number; delivered: number; dropped: number; failures: number; deliveredAt?: string; last?: Delivery }

const webhooks = signal<Webhook[] | null>(null)

function state(w: Webhook): [Kind, string] {
  if (w.off) return ['bad', `switched off: ${w.off}`]
  if (w.failures > 0) return ['odd', `${count(w.failures, 'try', 'tries')} failed`]
  return w.last ? ['ok', 'delivers'] : ['wait', 'nothing sent yet']
}

function last(w: Webhook): string {
  if (!w.last) return ''
  const what = w.last.accepted ? `accepted with ${w.last.status}` : [w.last.status ? `answered ${w.last.status}` : '', w.last.text].filter(Boolean).join(': ')
  return what + (w.last.nextAt && !w.last.accepted ? `; again in ${coarse(seconds(w.last.nextAt) - now.value)}` : '')
}

const path = (w: Webhook, what = '') => `/api/v1/webhooks/${encodeURIComponent(w.name)}${what}`

function test(w: Webhook) {
  offer({ title: `Send a test event to ${w.name}?`, text: w.url, button: 'Send', cli: () => cli('webhooks', 'test', w.name), path: path(w, '/test'), done: `A test event is on its way to ${w.name}` })
}

function retry(w: Webhook) {
  offer({ title: `Send again to ${w.name}?`, text: 'What waits and what was given up is sent at once; a webhook that is switched off is on again.', button: 'Send again', cli: () => cli('webhooks', 'retry', w.name), path: path(w, '/retry'), done: `${w.name} is tried again` })
}

function remove(w: Webhook) {
  offer({ title: `Remove the webhook ${w.name}?`, text: 'Events that wait for it are not sent.', button: 'Remove', danger: true, cli: () => cli('webhooks', 'rm', w.name), method: 'DELETE', path: path(w), done: `${w.name} is removed` })
}

export function Webhooks() {
  const refused = useAsked<Webhook[]>('/api/v1/webhooks', webhooks, (a) => a.webhooks)
  const list = webhooks.value
  return (
    <Card
      title="Webhooks"
      note={list ? count(list.length, 'receiver') : ''}
      list={list}
      refused={refused}
      blank={
        <Blank title="Events are sent nowhere">
          <p>A webhook gets events of runs and nodes as they happen, signed, and again if it does not answer:</p>
          <Command text="pipelined webhooks add chat https://chat.example.com/hook" />
        </Blank>
      }
    >
      <Table heads={['Webhook', 'Events', 'State', 'Sent', 'Last', '']}>
        {list?.map((w) => {
          const [kind, word] = state(w)
          return (
            <tr key={w.name}>
              <th scope="row" class="reason">
                <b>{w.name}</b>
                <small class="clip" title={w.url}>
                  {w.url}
                </small>
              </th>
              <td data-label="Events">
                {w.types?.length ? w.types.join(', ') : w.format ? 'notifications' : 'all'}
                <small>{[w.format && `as ${w.format}`, w.pipelines?.length && `of ${w.pipelines.join(', ')}`].filter(Boolean).join(', ')}</small>
              </td>
              <td data-label="State" class={'s-' + kind}>
                <Shape kind={kind} /> {word}
                <small>{w.config ? 'of the configuration' : ''}</small>
              </td>
              <td data-label="Sent">
                {w.delivered.toLocaleString('en')}
                <small>{[w.waiting ? `${w.waiting} wait` : '', w.givenUp ? `${w.givenUp} given up` : '', w.dropped ? `${w.dropped} dropped` : ''].filter(Boolean).join(', ')}</small>
              </td>
              <td data-label="Last" class="reason">
                {w.last ? `${coarse(now.value - seconds(w.last.at))} ago` : <span class="muted">never</span>}
                <small class="clip">{last(w)}</small>
              </td>
              <td class="act">
                <span class="row">
                  <Act label={`Test ${w.name}`} onClick={() => test(w)}>
                    Test
                  </Act>
                  {(w.off || w.waiting > 0 || w.givenUp > 0) && (
                    <Act label={`Send again to ${w.name}`} onClick={() => retry(w)}>
                      Send again
                    </Act>
                  )}
                  {!w.config && (
                    <Act label={`Remove ${w.name}`} onClick={() => remove(w)}>
                      Remove
                    </Act>
                  )}
                </span>
              </td>
            </tr>
          )
        })}
      </Table>
    </Card>
  )
}
