# run: failed
# rules: 8
# a: failed
# b: failed
# attempts b: 1
pipeline "cache_failure_shared" {
  on_failure = "continue"
  workspace {
    exclude = ["**"]
  }
  template "work" {
    script    = "sleep 1; exit 3"
    cache     = true
    cache_key = [run.id]
  }
  module "a" {
    use = template.work
  }
  module "b" {
    use = template.work
  }
}
