// What waits for a person: the question, who may decide, and the decision.
import { Card } from './card'
import { coarse, dateTime, modulesWait, seconds } from './format'
import { Shape } from './icons'
import { Act, Blank, Command, CopyAs, cli, curl, offer } from './parts'
import { runLink } from './route'
import { Top, show } from './shell'
import { may, now } from './store'
import { approvals, mine, type PendingApproval } from './waitingfor'

function decide(a: PendingApproval, what: 'approve' | 'reject') {
  const approve = what === 'approve'
  offer({
    title: `${approve ? 'Approve' : 'Reject'} ${a.module} of ${a.pipeline} ${a.number}?`,
    text: a.message,
    button: approve ? 'Approve' : 'Reject',
    danger: !approve,
    input: approve ? 'Comment' : 'Reason',
    cli: (text) => cli(what, String(a.number), a.module, ...(text ? [approve ? '-comment' : '-reason', text] : [])),
    path: `/api/v1/runs/${a.run}/modules/${what}?module=${encodeURIComponent(a.module)}`,
    body: (text) => (approve ? { comment: text } : { reason: text }),
    done: `${a.module} of ${a.pipeline} ${a.number} is ${approve ? 'approved' : 'rejected'}`,
    then: () => (approvals.value = approvals.value?.filter((x) => x !== a) ?? null),
  })
}

export function Decide({ a }: { a: PendingApproval }) {
  if (!a.may || !may('submit')) return <small>{a.may ? 'Your token may not decide.' : 'You are not among those who may decide.'}</small>
  return (
    <span class="row">
      <Act kind="pri" label={`Approve ${a.module} of ${a.pipeline} ${a.number}`} onClick={() => decide(a, 'approve')}>
        Approve
      </Act>
      <Act label={`Reject ${a.module} of ${a.pipeline} ${a.number}`} onClick={() => decide(a, 'reject')}>
        Reject
      </Act>
    </span>
  )
}

// deciders says who may decide, by patterns of names.
export const deciders = (approvers?: string[]) => (approvers?.length ? `May decide: ${approvers.join(', ')}` : 'Each token that may submit may decide')

const deadline = (a: PendingApproval) => {
  if (!a.deadline) return ''
  const then = { approve: 'it is approved', skip: 'it is skipped' }[a.onTimeout ?? ''] ?? 'it is rejected'
  return `In ${coarse(seconds(a.deadline) - now.value)} ${then} without a decision (${dateTime(a.deadline)})`
}

export function Approvals() {
  const list = approvals.value
  show(mine.value.length ? 'ask' : 'wait', mine.value.length ? `${mine.value.length} to decide, pipelined` : 'Approvals, pipelined')
  return (
    <>
      <Top path={[['Approvals']]}>
        <CopyAs
          lines={[
            ['Command', cli('approvals')],
            ['curl', curl('GET', '/api/v1/approvals')],
          ]}
        />
      </Top>
      <div class="scroll">
        <h1 class="sr">Approvals</h1>
        <Card
          title="Approvals"
          note={list ? `${modulesWait(list.length)}, ${mine.value.length} for you` : ''}
          list={list}
          blank={
            <Blank title="Nothing waits for an approval">
              <p>A module with an approval waits until a person decides; what depends on it waits too:</p>
              <Command text={'module "ship" {\n  approval {\n    message = "Put it into production?"\n  }\n}'} />
              <p>The decision is made here, or by a command:</p>
              <Command text="pipelined approve last ship -comment 'looks good'" />
            </Blank>
          }
        >
          <ul class="inbox">
            {list?.map((a) => (
              <li key={a.run + a.module}>
                <Shape kind="ask" />
                <div>
                  <b class="question">{a.message || `Continue with ${a.module}?`}</b>
                  <small>
                    <a href={runLink(a.number, a.module)}>
                      {a.module} of {a.pipeline} {a.number}
                    </a>
                    {a.submitter && `, submitted by ${a.submitter}`}, waits {coarse(now.value - seconds(a.since))}
                  </small>
                  <small>{deciders(a.approvers)}</small>
                  {a.deadline && <small class="s-odd">{deadline(a)}</small>}
                </div>
                <Decide a={a} />
              </li>
            ))}
          </ul>
        </Card>
      </div>
    </>
  )
}
