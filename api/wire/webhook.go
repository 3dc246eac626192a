package wire

import "time"

// WebhookRequest goes to POST /api/v1/webhooks. Types are names of types of events;
// none is all. With Pipelines it gets the events of runs of these only. Without a secret
// one is made. Of the format slack it has no secret, and without types it gets only
// notifications that name it.
type WebhookRequest struct {
	Name      string   `json:"name"`
	URL       string   `json:"url"`
	Types     []string `json:"types,omitempty"`
	Pipelines []string `json:"pipelines,omitempty"`
	Secret    string   `json:"secret,omitempty"`
	Format    string   `json:"format,omitempty"`
}

// WebhookRotate goes to POST /api/v1/webhooks/{name}/rotate. For so long the secret
// before signs as well. Without a secret one is made.
type WebhookRotate struct {
	KeepSeconds float64 `json:"keepSeconds,omitempty"`
	Secret      string  `json:"secret,omitempty"`
}

// WebhookCreated answers both, and is the only time that the secret is seen.
type WebhookCreated struct {
	WebhookInfo
	Secret string `json:"secret,omitempty"`
}

// WebhookInfo describes a webhook without its secret.
type WebhookInfo struct {
	Name      string   `json:"name"`
	URL       string   `json:"url"`
	Types     []string `json:"types,omitempty"`
	Pipelines []string `json:"pipelines,omitempty"`
	// Format is slack, or "" for signed CloudEvents.
	Format    string    `json:"format,omitempty"`
	CreatedAt time.Time `json:"createdAt"`
	CreatedBy string    `json:"createdBy,omitempty"`
	// Config is set if the configuration of agents defines it.
	Config bool `json:"config,omitempty"`
	// OldSecretUntil is until when the secret before signs as well.
	OldSecretUntil *time.Time `json:"oldSecretUntil,omitempty"`
	// Off is why it is switched off, since OffAt.
	Off   string     `json:"off,omitempty"`
	OffAt *time.Time `json:"offAt,omitempty"`

	// Waiting events are to be sent, GivenUp ones are not sent again by themselves.
	// Delivered ones were acknowledged; Dropped ones were deleted, because too many
	// waited.
	Waiting   int    `json:"waiting"`
	GivenUp   int    `json:"givenUp"`
	Delivered uint64 `json:"delivered"`
	Dropped   uint64 `json:"dropped"`
	// Failures counts the tries since DeliveredAt, when an event was acknowledged last.
	Failures    int              `json:"failures"`
	DeliveredAt *time.Time       `json:"deliveredAt,omitempty"`
	Last        *WebhookDelivery `json:"last,omitempty"`
}

// WebhookDelivery is what came of sending an event once.
type WebhookDelivery struct {
	Event    string    `json:"event"`
	At       time.Time `json:"at"`
	TookMS   float64   `json:"tookMs"`
	Accepted bool      `json:"accepted"`
	// Status is that of the answer, 0 if there was none. Text is the begin of its body,
	// or why there was none.
	Status int    `json:"status,omitempty"`
	Text   string `json:"text,omitempty"`
	// NextAt is when it is sent again.
	NextAt *time.Time `json:"nextAt,omitempty"`
}

// WebhookList answers GET /api/v1/webhooks.
type WebhookList struct {
	Webhooks []WebhookInfo `json:"webhooks"`
}
