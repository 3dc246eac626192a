# run: failed
# rules: 7
# a: failed
# attempts a: 3
pipeline "template_retry" {
  workspace {
    exclude = ["**"]
  }
  template "t" {
    retry {
      attempts = 3
      backoff  = "10ms"
    }
  }
  module "a" {
    use     = template.t
    command = ["false"]
  }
}
