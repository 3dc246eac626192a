package traces

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/pipelined/pipelined/pipeline"
)

// queued is how many spans wait for the collector at most; pace is after how many the
// exporter waits until they are delivered.
const queued, pace = 8192, 2048

// newExporter makes what the variables of OpenTelemetry ask for; nil if they ask for
// nothing. What an exporter itself understands (headers, certificates, compression,
// timeouts, the sampler) is read by the libraries.
func newExporter(ctx context.Context, getenv func(string) string) (sdktrace.SpanExporter, error) {
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") {
		return nil, nil
	}

	switch kind := getenv("OTEL_TRACES_EXPORTER"); kind {
	case "none":
		return nil, nil
	case "console":
		return stdouttrace.New(stdouttrace.WithWriter(os.Stderr))
	case "", "otlp":
	default:
		return nil, pipeline.Errorf(pipeline.Invalid, "OTEL_TRACES_EXPORTER=%.40q: expected otlp, console or none", kind)
	}

	// Without an address nothing is sent, although the standard has a default: not
	// every machine with a node has a collector.
	const endpoint, protocol = "OTEL_EXPORTER_OTLP_%sENDPOINT", "OTEL_EXPORTER_OTLP_%sPROTOCOL"
	address, p := first(getenv, endpoint), first(getenv, protocol)
	if address == "" {
		return nil, nil
	}
	// The libraries pass over what they do not understand, and use their defaults.
	if u, err := url.Parse(address); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, pipeline.Errorf(pipeline.Invalid, "OTEL_EXPORTER_OTLP_ENDPOINT=%.100q: expected a URL, like http://127.0.0.1:4318 (with grpc: http://127.0.0.1:4317)", address)
	}
	if err := checkSampler(getenv); err != nil {
		return nil, err
	}
	switch p {
	case "", "http/protobuf":
		return otlptracehttp.New(ctx)
	case "grpc":
		return otlptracegrpc.New(ctx)
	default:
		return nil, pipeline.Errorf(pipeline.Invalid, "OTEL_EXPORTER_OTLP_PROTOCOL=%.40q: expected http/protobuf or grpc", p)
	}
}

// samplers are the values of OTEL_TRACES_SAMPLER that the library knows.
var samplers = []string{"", "always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"}

// checkSampler refuses a sampler that the library would replace by one of its own.
func checkSampler(getenv func(string) string) error {
	const name, arg = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
	sampler := strings.ToLower(strings.TrimSpace(getenv(name)))
	if !slices.Contains(samplers, sampler) {
		return pipeline.Errorf(pipeline.Invalid, "%s=%.40q: expected %s", name, sampler, strings.Join(samplers[1:], ", "))
	}
	text := strings.TrimSpace(getenv(arg))
	if text == "" || !strings.HasSuffix(sampler, "traceidratio") {
		return nil
	}
	if ratio, err := strconv.ParseFloat(text, 64); err != nil || !(ratio >= 0 && ratio <= 1) {
		return pipeline.Errorf(pipeline.Invalid, "%s=%.40q: expected a share of runs from 0 to 1, like 0.1", arg, text)
	}
	return nil
}

// first is the value of a variable for traces, or of the one for all signals.
func first(getenv func(string) string, name string) string {
	if v := getenv(fmt.Sprintf(name, "TRACES_")); v != "" {
		return v
	}
	return getenv(fmt.Sprintf(name, ""))
}

// newProvider makes spans that go to an exporter.
func newProvider(ctx context.Context, to sdktrace.SpanExporter, node, version string) (*sdktrace.TracerProvider, error) {
	// What the variables say (OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES) wins.
	res, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "pipelined"), attribute.String("service.instance.id", node), attribute.String("service.version", version)),
		resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("read the variables of OpenTelemetry: %w", err)
	}
	return sdktrace.NewTracerProvider(sdktrace.WithBatcher(to, sdktrace.WithMaxQueueSize(queued)), sdktrace.WithIDGenerator(givenIDs{}), sdktrace.WithResource(res)), nil
}

// givenIDs takes the ids of a span from its context.
type givenIDs struct{}

type idsKey struct{}

type ids struct {
	trace trace.TraceID
	span  trace.SpanID
}

// NewIDs gives the ids of a span without a parent.
func (givenIDs) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	x := ctx.Value(idsKey{}).(ids)
	return x.trace, x.span
}

// NewSpanID gives the id of a span with a parent.
func (givenIDs) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	return ctx.Value(idsKey{}).(ids).span
}
