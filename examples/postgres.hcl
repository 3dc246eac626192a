# The tests of a Go project, each package beside a Postgres of its own: those of
# github.com/jackc/pgx, with its modules below vendor/ (go mod vendor), so that
# containers need no network. Copy it into the project:
#
#   pipelined submit postgres.hcl
#
# Workers need Docker or Podman. The image of Go needs gcc for packages with cgo, and psql.
pipeline "postgres" {
  description = "Tests of a Go project with Postgres, in containers"

  variable "go" {
    type    = string
    default = "golang:1.26"
  }

  variable "postgres" {
    type    = string
    default = "postgres:18"
  }

  module "test" {
    matrix = {
      package = [".", "./pgconn/...", "./pgtype/...", "./pgxpool/...", "./stdlib/...", "./internal/... ./log/... ./multitracer/... ./pgproto3/... ./tracelog/..."]
    }
    image   = var.go
    caches  = ["go"]
    timeout = "30m"
    env = {
      GOCACHE           = "${cache.dir}/go"
      GOFLAGS           = "-mod=vendor"
      PGPASSWORD        = "test"
      PGX_TEST_DATABASE = "host=db user=postgres password=test dbname=pgx_test"
    }
    script = <<-END
      set -eu
      psql -q -h db -U postgres -d pgx_test -f testsetup/postgresql_setup.sql
      go test -count=1 ${matrix.package}
    END

    service "db" {
      image   = var.postgres
      command = ["postgres", "-c", "fsync=off"] # it is new for each attempt
      env     = { POSTGRES_PASSWORD = "test", POSTGRES_DB = "pgx_test" }
      health  = "pg_isready -q -U postgres -h 127.0.0.1"
    }
  }
}
