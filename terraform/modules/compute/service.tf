# The service: one coordinator for all jobs, with its doors.

locals {
  service_command = concat(
    [
      "serve",
      "--flight", "0.0.0.0:${local.flight_port}",
      "--http", "0.0.0.0:${local.http_port}",
      "--workers", "dns:${local.workers_host}:${local.worker_port}",
      "--submitted", "${var.state_location}submitted/",
    ],
    var.job_files,
  )

  service_environment = merge(
    local.environment,
    # The names that the jobs of the repository use.
    { OUT = trimsuffix(var.results_location, "/"), STATE = var.state_location },
    var.environment,
  )

  service_secrets = {
    TIDEGAUGE_TOKENS       = var.secrets.service_tokens
    TIDEGAUGE_WORKER_TOKEN = var.secrets.worker_token
  }

  # The image holds one program, no shell and no curl, so the check is that program asking its own
  # HTTP door.
  service_container = merge(local.container, {
    name    = "service"
    command = local.service_command
    portMappings = [for port in [local.flight_port, local.http_port] : {
      containerPort = port, hostPort = port, protocol = "tcp"
    }]
    environment = [for name, value in local.service_environment : {
      name = name, value = value
    }]
    healthCheck = {
      command = [
        "CMD", "/usr/local/bin/tidegauge", "health", "--to", "http://127.0.0.1:${local.http_port}",
      ]
      interval    = 30
      timeout     = 10
      retries     = 3
      startPeriod = 60
    }
    secrets          = [for name, arn in local.service_secrets : { name = name, valueFrom = arn }]
    logConfiguration = local.log_options["service"]
  })
}

resource "aws_ecs_task_definition" "service" {
  family                   = "${var.name}-service"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.service_size.cpu
  memory                   = var.service_size.memory
  execution_role_arn       = var.role_arns["execution"]
  task_role_arn            = var.role_arns["service"]
  container_definitions    = jsonencode([local.service_container])

  volume {
    name = "tmp"
  }
  ephemeral_storage {
    size_in_gib = var.ephemeral_storage_gib
  }
  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.cpu_architecture
  }
}

# One, and never two on purpose: the old task stops before the new one starts. Where two do run for
# a moment, as after a lost host, the commit log lets one of them commit and stops the other.
resource "aws_ecs_service" "service" {
  name            = "service"
  cluster         = aws_ecs_cluster.this.id
  task_definition = aws_ecs_task_definition.service.arn
  launch_type     = "FARGATE"
  desired_count   = 1

  deployment_minimum_healthy_percent = 0
  deployment_maximum_percent         = 100
  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets          = var.subnet_ids
    security_groups  = [aws_security_group.service.id]
    assign_public_ip = false
  }

  service_registries {
    registry_arn = aws_service_discovery_service.this["service"].arn
  }

  propagate_tags = "SERVICE"
  # A task without its ways out pulls no image; it would fail until the circuit breaker opens.
  depends_on = [
    aws_vpc_security_group_egress_rule.endpoints,
    aws_vpc_security_group_egress_rule.s3,
    aws_vpc_security_group_ingress_rule.endpoints,
  ]
}
