# run: succeeded
# rules: 8
# kill
# a: succeeded
# b: cached "result of a of run"
# c: cached "result of a of run"
# attempts c: 0
# log c: only once
pipeline "cache_at_once" {
  workspace {
    exclude = ["**"]
  }
  template "work" {
    script    = "sleep 1; echo only once"
    cache     = true
    cache_key = [run.id]
  }
  module "a" {
    use      = template.work
    priority = 1
  }
  module "b" {
    use = template.work
  }
  module "c" {
    use = template.work
  }
}
