package pipeline

import (
	"bytes"
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

// Images names the images of a module: its own, then those of its services.
func (c *Container) Images() []string {
	refs := []string{c.Image}
	for i := range c.Services {
		refs = append(refs, c.Services[i].Image)
	}
	return refs
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

// What begins a line of a service's output among those of its module: serviceLine NAME
// serviceBar.
const (
	serviceLine = "service "
	serviceBar  = " | "
)

// ServiceLine is a line of a service's output as it stands in that of its module.
func ServiceLine(service, line string) string { return serviceLine + service + serviceBar + line }

// OfService reports whether a line looks like one of ServiceLine.
func OfService(line []byte) bool {
	rest, ok := bytes.CutPrefix(line, []byte(serviceLine))
	name, _, bar := bytes.Cut(rest, []byte(serviceBar))
	return ok && bar && !bytes.ContainsRune(name, ' ')
}

// SecretNames lists the secrets that the module needs: those that it sees, and that of
// its registry.
func (m *Module) SecretNames() []string {
	name := m.Container.RegistryAuth
	if name == "" || slices.Contains(m.Secrets, name) {
		return m.Secrets
	}
	return append(slices.Clip(m.Secrets), name)
}
