package pipeline

import (
	"slices"
	"time"
)

// Container says in which image a module's process and its hooks run, and what runs
// beside them. The zero value is none.
type Container struct {
	Image string `json:"image,omitempty"`
	// Pull is when the image, and those of services, are pulled: PullMissing (""
	// means the same), PullAlways or PullNever.
	Pull string `json:"pull,omitempty"`
	// RegistryAuth names the secret USER:PASSWORD for the image's registry.
	RegistryAuth string `json:"registryAuth,omitempty"`
	// Services start before the module and are removed at its end.
	Services []Service `json:"services,omitempty"`
}

// What Container.Pull may hold.
const (
	PullMissing = "missing"
	PullAlways  = "always"
	PullNever   = "never"
)

// Service is a container beside a module's, such as a database, which the module
// reaches under its name.
type Service struct {
	Name    string            `json:"name"`
	Image   string            `json:"image"`
	Command []string          `json:"command,omitempty"`
	Env     map[string]string `json:"env,omitempty"`
	// Health is a shell command that succeeds in the service's container once it is
	// ready; "" means that it is ready when it runs. HealthTimeout bounds the wait.
	Health        string        `json:"health,omitempty"`
	HealthTimeout time.Duration `json:"healthTimeout,omitempty"`
}

// DefaultHealthTimeout is that of a service that sets none.
const DefaultHealthTimeout = time.Minute

// SecretNames lists the secrets that the module needs: those that it sees, and that of
// its registry.
func (m *Module) SecretNames() []string {
	name := m.Container.RegistryAuth
	if name == "" || slices.Contains(m.Secrets, name) {
		return m.Secrets
	}
	return append(slices.Clip(m.Secrets), name)
}
