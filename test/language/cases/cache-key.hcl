# run: succeeded
# rules: 8 s26
# a: succeeded
# key: succeeded
# env: succeeded
# command: succeeded
# outputs: succeeded
# same: cached "result of a of run"
# log key: x
pipeline "cache_key" {
  workspace {
    exclude = ["**"]
  }
  template "work" {
    script     = "echo x | tee out.txt"
    cache      = true
    cache_key  = [run.id, 1]
    depends_on = [module.a]
  }
  module "a" {
    script    = "echo x | tee out.txt"
    cache     = true
    cache_key = [run.id, 1]
  }
  module "key" {
    use       = template.work
    cache_key = [run.id, "1"]
  }
  module "env" {
    use = template.work
    env = { A = "" }
  }
  module "command" {
    use    = template.work
    script = "echo y | tee out.txt"
  }
  module "outputs" {
    use     = template.work
    outputs = ["out.txt"]
  }
  module "same" {
    use     = template.work
    timeout = "1m"
  }
}
