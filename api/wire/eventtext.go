package wire

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// eventText says in a sentence what happened.
func eventText(e *pipeline.Event) string {
	switch e.Type {
	case pipeline.EventLeaderChanged:
		return leaderText(e)
	case pipeline.EventNodeDraining, pipeline.EventNodeUndrained, pipeline.EventWorkerRegistered, pipeline.EventWorkerRemoved,
		pipeline.EventNodeJoined, pipeline.EventNodeLost, pipeline.EventNodeReturned, pipeline.EventNodeLeft:
		return nodeText(e)
	case pipeline.EventTokenCreated, pipeline.EventTokenRevoked, pipeline.EventSecretSet, pipeline.EventSecretRemoved,
		pipeline.EventScheduleRegistered, pipeline.EventSchedulePaused, pipeline.EventScheduleResumed, pipeline.EventScheduleRemoved, pipeline.EventScheduleSkipped,
		pipeline.EventBackfillStarted, pipeline.EventBackfillEnded,
		pipeline.EventWebhookAdded, pipeline.EventWebhookRemoved, pipeline.EventWebhookOff:
		return subjectText(e)
	case pipeline.EventDataDamaged, pipeline.EventDataRepaired:
		return e.Node + ": " + damageText(e)
	}

	run := fmt.Sprintf("%s %d", e.Pipeline, e.Number)
	if e.Module != "" {
		return run + ": " + moduleText(e)
	}
	return run + " " + runText(e)
}

func runText(e *pipeline.Event) string {
	switch e.Type {
	case pipeline.EventRunQueued:
		if e.Subject != "" && e.Reason != "" {
			return "was made by its schedule, " + e.Reason
		}
		return "was submitted" + by(e.Actor) + because(e.Reason) // as retry of another one
	case pipeline.EventRunStarted:
		return "started"
	case pipeline.EventRunCancelling:
		if e.Actor != "" && e.Reason != "by "+e.Actor {
			return "is being cancelled" + by(e.Actor) + because(e.Reason)
		}
		return "is being cancelled" + because(e.Reason)
	case pipeline.EventRunRetried:
		return fmt.Sprintf("was retried%s: %s", by(e.Actor), number(e.Count, "module"))
	case pipeline.EventRunNotified:
		if e.Reason != "" {
			return fmt.Sprintf("could not notify of its %s (%s)%s", e.On, e.Notify, because(e.Reason))
		}
		return fmt.Sprintf("notifies webhook %s of its %s (%s)", e.Subject, e.On, e.Notify)
	case pipeline.EventRunFinished:
		text := pipeline.Words(pipeline.RunState(e.State))
		if pipeline.RunState(e.State) == pipeline.RunCancelled {
			text = "was cancelled"
		}
		return text + because(e.Reason)
	}
	return cmp.Or(e.Type.Kind().Name, fmt.Sprintf("event %d", e.Type))
}

func moduleText(e *pipeline.Event) string {
	switch e.Type {
	case pipeline.EventAttemptStarted:
		return fmt.Sprintf("%s runs again on %s, attempt %d%s", e.Module, e.Node, e.Attempt, because(e.Reason))
	case pipeline.EventAttemptFinished:
		return attemptText(e)
	case pipeline.EventModuleReopened:
		return e.Module + " has to run again" + because(e.Reason)
	case pipeline.EventApprovalAsked:
		return e.Module + " waits for an approval" + because(e.Reason)
	case pipeline.EventApprovalDecided:
		return fmt.Sprintf("%s was %s%s%s", e.Module, e.State, by(cmp.Or(e.Actor, "its timeout")), because(e.Reason))
	}
	return e.Module + " " + e.Type.Kind().Name
}

func attemptText(e *pipeline.Event) string {
	if e.Attempt == 0 {
		return e.Module + " failed" + because(e.Reason)
	}

	state := pipeline.Words(pipeline.AttemptState(e.State))
	if pipeline.AttemptState(e.State) == pipeline.AttemptLost {
		state = "was lost"
	}
	text := fmt.Sprintf("%s %s on %s, attempt %d", e.Module, state, e.Node, e.Attempt)
	switch {
	case e.Reason != "":
		text += because(e.Reason)
	case e.ExitCode != nil:
		text += fmt.Sprintf(": exit code %d", *e.ExitCode)
	}
	if e.Again {
		text += "; it runs again"
	}
	return text
}

func leaderText(e *pipeline.Event) string {
	text := fmt.Sprintf("%s leads in term %d", e.Node, e.Term)
	switch {
	case e.Gap > 0 && e.Previous != "" && e.Previous != e.Node:
		text += fmt.Sprintf(", %s after %s", GapText(e.Gap), e.Previous)
	case e.Gap > 0:
		text += ", after " + GapText(e.Gap) + " without a leader"
	}
	switch {
	case e.Count > 0 && e.Awaited > 0:
		text += fmt.Sprintf("; it adopted %s and waits for %d on %s", number(e.Count, "attempt"), e.Awaited, e.Previous)
	case e.Count > 0:
		text += "; it adopted " + number(e.Count, "attempt")
	case e.Awaited > 0:
		text += fmt.Sprintf("; it waits for %s on %s", number(e.Awaited, "attempt"), e.Previous)
	}
	return text
}

// GapText is how long there was no leader: milliseconds below ten seconds.
func GapText(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%d ms", max(1, d.Milliseconds()))
	}
	return d.Round(100 * time.Millisecond).String()
}

func nodeText(e *pipeline.Event) string {
	switch e.Type {
	case pipeline.EventNodeDraining:
		return e.Node + " is draining" + asked(e.Actor)
	case pipeline.EventNodeUndrained:
		return e.Node + " gets work again" + asked(e.Actor)
	case pipeline.EventNodeJoined:
		return e.Node + " joined"
	case pipeline.EventNodeLost:
		return e.Node + " does not answer"
	case pipeline.EventNodeReturned:
		return e.Node + " answers again"
	case pipeline.EventNodeLeft:
		return e.Node + " left"
	case pipeline.EventWorkerRegistered:
		return "external worker " + e.Node + " registered"
	}
	return "external worker " + e.Node + " was removed" + by(e.Actor) + because(e.Reason)
}

func subjectText(e *pipeline.Event) string {
	switch e.Type {
	case pipeline.EventTokenCreated:
		return fmt.Sprintf("token %s with the role %s was created%s", e.Subject, e.State, by(e.Actor))
	case pipeline.EventWebhookOff:
		return "webhook " + e.Subject + " was switched off" + because(e.Reason)
	case pipeline.EventScheduleSkipped:
		return "schedule " + e.Subject + " skipped " + number(e.Count, "tick") + because(e.Reason)
	}
	switch e.Type {
	case pipeline.EventBackfillStarted:
		return "schedule " + e.Subject + ": a backfill of " + number(e.Count, "tick") + " began" + by(e.Actor) + because(e.Reason)
	case pipeline.EventBackfillEnded:
		return "schedule " + e.Subject + ": its backfill ended, " + number(e.Count, "run") + " did not succeed" + because(e.Reason)
	}
	what, did, _ := strings.Cut(e.Type.Kind().Name, ".")
	return what + " " + e.Subject + " was " + did + by(e.Actor)
}

func damageText(e *pipeline.Event) string {
	repaired := e.Type == pipeline.EventDataRepaired
	switch {
	case e.Subject == pipeline.DamagedJournal:
		return "the journal is damaged" + because(e.Reason)
	case e.Subject == pipeline.DamagedRaft && repaired:
		return "raft's directory was repaired" + because(e.Reason)
	case e.Subject == pipeline.DamagedRaft:
		return "raft's directory is damaged" + because(e.Reason)
	case repaired:
		return damagedBlobs(e, "was replaced by a good copy", "were replaced by good copies")
	}
	return damagedBlobs(e, "is damaged", "are damaged")
}

func damagedBlobs(e *pipeline.Event, one, many string) string {
	text := fmt.Sprintf("%s %s", number(e.Count, "blob"), many)
	if e.Count == 1 {
		text = fmt.Sprintf("blob %.12s %s", e.Subject, one)
	}
	if e.From != "" {
		text += " from " + e.From
	}
	return text
}

func by(actor string) string {
	if actor == "" {
		return ""
	}
	return " by " + actor
}

func asked(actor string) string {
	if actor == "" {
		return ""
	}
	return ", asked by " + actor
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

func number(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
