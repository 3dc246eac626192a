# run: succeeded
# rules: 8 s23
# kill
# a: succeeded
# b: cached "result of a of run"
# c: succeeded
# d: succeeded
# gate: succeeded
# attempts b: 0
# log b: working
# log c: succeeded true 3 out.txt
# log c: made once
pipeline "cache_same_work" {
  workspace {
    exclude = ["**"]
  }
  template "work" {
    script    = <<-SH
      echo working
      echo made once > out.txt
      echo "n=3" >> "$PIPELINED_OUTPUT"
    SH
    outputs   = ["out.txt"]
    cache     = true
    cache_key = [run.id]
  }
  module "a" {
    use = template.work
  }
  module "b" {
    use                 = template.work
    optional_depends_on = [module.gate]
  }
  module "gate" {
    command = ["sh", "-c", "test ${module.a.result.n} = 3"]
  }
  module "c" {
    script = "echo ${module.b.status} ${module.b.cached} ${module.b.result.n} ${join(",", module.b.outputs)}; cat out.txt"
  }
  module "d" {
    command = ["test", "${module.b.duration < 5}", "=", "true"]
  }
}
