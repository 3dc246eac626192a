// What waits for a person's decision; every page shows how many.
import { computed, signal } from '@preact/signals'
import { json } from './api'
import { every } from './parts'

export interface PendingApproval {
  run: string
  number: number
  pipeline: string
  submitter?: string
  module: string
  message: string
  approvers?: string[]
  since: string
  deadline?: string
  onTimeout?: string
  may: boolean
}

export const approvals = signal<PendingApproval[] | null>(null)
// mine are those that the person at this page may decide.
export const mine = computed(() => approvals.value?.filter((a) => a.may) ?? [])

export const useApprovals = () => every(4000, () => json<{ approvals: PendingApproval[] }>('/api/v1/approvals').then((a) => (approvals.value = a.approvals)))
