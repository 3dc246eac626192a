# Modules that run on an external worker, because they ask for its tag, beside
# one that runs anywhere. See README.md for how to start the worker.

pipeline "external" {
  description = "Input files to an external worker, outputs and results from it"

  workspace {
    root    = ".."
    exclude = ["external-worker/**"]
  }

  # Runs on any node and leaves a file for the next module.
  module "list" {
    inputs  = ["data/*.txt"]
    outputs = ["list.txt"]
    script  = <<-SH
      ls data > list.txt
      echo "texts=$(wc -l < list.txt | tr -d ' ')" >> "$PIPELINED_OUTPUT"
    SH
  }

  # Only the external worker has this tag. It gets the texts and list.txt.
  module "initials" {
    depends_on = [module.list]
    inputs     = ["data/*.txt"]
    outputs    = ["initials.txt"]
    requires   = { tags = ["python-example"] }
    retry {
      attempts = 2
    }
    script = <<-PY
      #!/usr/bin/env python3
      import json, os, pathlib
      names = pathlib.Path("list.txt").read_text().split()
      first = {name: pathlib.Path("data", name).read_text()[0] for name in names}
      pathlib.Path("initials.txt").write_text("".join(f"{name}\t{c}\n" for name, c in first.items()))
      print("the texts begin with", " ".join(first.values()))
      with open(os.environ["PIPELINED_OUTPUT"], "w") as out:
          json.dump({"initials": list(first.values()), "texts": len(first)}, out)
    PY
  }

  module "report" {
    inputs = []
    script = <<-SH
      cat initials.txt
      echo "${module.initials.result.texts} of ${module.list.result.texts} texts were read by the external worker"
    SH
  }
}
