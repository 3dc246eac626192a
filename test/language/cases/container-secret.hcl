# rules: container 10
# run: invalid
# error: secret "REGISTRY" is named in both registry_auth and secrets
pipeline "secret" {
  template "signed" {
    secrets = ["REGISTRY"]
  }

  module "a" {
    use           = template.signed
    image         = "test/busybox:1"
    registry_auth = "REGISTRY"
    command       = ["true"]
  }
}
