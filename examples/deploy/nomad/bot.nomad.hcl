# The bot with fixed shards: allocation n of `workers` runs the n-th part of `shards`. Needs a Redis, and a variable:
#
#     nomad var put nomad/jobs/bot DISCORD_TOKEN=… SHARDWRIGHT_BACKPLANE=rediss://…

variable "shards" {
  type    = number
  default = 64 # `shardwright plan` says how many
}

variable "workers" {
  type    = number
  default = 4
}

job "bot" {
  group "bot" {
    count = var.workers

    # One after the other, each when the one before is ready.
    update {
      max_parallel      = 1
      health_check      = "checks"
      healthy_deadline  = "30m"
      progress_deadline = "1h"
    }

    # Each start may cost an identify per shard, of 1,000 a day.
    restart {
      attempts = 5
      interval = "1h"
      delay    = "5s"
      mode     = "delay"
    }

    network {
      port "metrics" {}
    }

    service {
      name     = "bot"
      port     = "metrics"
      provider = "nomad"

      check {
        type     = "http"
        path     = "/readyz"
        interval = "5s"
        timeout  = "2s"
      }
    }

    task "bot" {
      driver       = "docker"
      kill_signal  = "SIGTERM"
      kill_timeout = "45s"

      config {
        image   = "registry.example.com/bot:1"
        ports   = ["metrics"]
        command = "/bin/sh"
        args    = ["-c", "export SHARDWRIGHT_SHARDS=$((NOMAD_ALLOC_INDEX * SHARDS / WORKERS))-$(((NOMAD_ALLOC_INDEX + 1) * SHARDS / WORKERS - 1))/$SHARDS; exec python bot.py"]
      }

      env {
        SHARDS               = var.shards
        WORKERS              = var.workers
        SHARDWRIGHT_SESSIONS = "backplane"
        SHARDWRIGHT_WORKER   = "${NOMAD_ALLOC_NAME}"
        METRICS_ADDRESS      = "0.0.0.0:${NOMAD_PORT_metrics}"
      }

      template {
        destination = "secrets/bot.env"
        env         = true
        data        = <<-EOT
          {{ with nomadVar "nomad/jobs/bot" }}
          DISCORD_TOKEN={{ .DISCORD_TOKEN }}
          SHARDWRIGHT_BACKPLANE={{ .SHARDWRIGHT_BACKPLANE }}
          {{ end }}
        EOT
      }

      resources {
        cpu        = 500
        memory     = 160
        memory_max = 384
      }
    }
  }
}
