//! What an image says of itself is data, and its paths are the container's.

use std::fs;

use super::all_in;
use crate::fake_host;
use crate::registry::busybox_root;
use crate::support::Scene;

/// Pushes a busybox image with this configuration, and returns its name.
fn image(scene: &Scene<'_>, name: &str, config: &str) -> String {
    let root = scene.host.dir(&format!("image-{name}"));
    busybox_root(&root);
    scene.registry.push_dir(&root, name, config)
}

#[test]
fn cve_2022_23648_paths_of_an_image_are_the_containers_whatever_is_in_them() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let secret = host.dir("secret");
        fs::write(secret.join("key"), "of the host").unwrap();
        let before = all_in(&scene, "/run/secret");
        let up = "/../../../../../../run/secret";
        for (index, dir) in ["", "/bin", "/proc/1/root"].into_iter().enumerate() {
            let dir = format!("{dir}{up}");
            let volumes = format!(
                r#""Volumes":{{"{dir}":{{}},"/../../etc":{{}},"/proc/self/cwd":{{}}}},"Healthcheck":{{"Test":["CMD","cat","{dir}/key"]}}"#
            );
            let command =
                format!(r#""Cmd":["/bin/sh","-c","ls -A {dir}; cat {dir}/key; echo $?"]"#);
            let volumes = image(
                &scene,
                &format!("volume{index}"),
                &format!("{{{volumes},{command}}}"),
            );
            assert_eq!(
                scene.run(&format!("run --rm {volumes}")).out,
                "1\n",
                "{dir}"
            );
            let working = format!(r#"{{"WorkingDir":"{dir}",{command}}}"#);
            let working = image(&scene, &format!("working{index}"), &working);
            let done = scene.run(&format!("run --rm {working}"));
            assert_eq!((done.code, done.out.as_str()), (125, ""), "{dir}");
            assert!(done.err.contains("`..` is not allowed"), "{}", done.err);
            assert_eq!(all_in(&scene, "/run/secret"), before, "{dir}");
        }
        scene.assert_all_gone("runs of images with paths that lead up");
    });
}

#[test]
fn cve_2026_53488_labels_of_an_image_decide_nothing() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let command = r#"grep -E 'Cap|Seccomp|NoNewPrivs|Groups|[UG]id' /proc/self/status; cut -d' ' -f4- /proc/self/mountinfo | sed 's/[0-9a-f]\{12,\}/ID/g; s/[0-9]\{3,\}/N/g'; id; env | grep -v HOSTNAME; ulimit -a; ls /dev"#;
        let labels = [
            ("rocker.privileged", "true"),
            ("rocker.mount", "/:/host"),
            ("rocker.log", "binary:///bin/sh?-c=touch+/run/owned"),
            ("rocker.network", "host"),
            (
                "io.containerd.runc.v2.log",
                "binary:///bin/touch?/run/owned",
            ),
            ("nerdctl/log-uri", "binary:///bin/touch?/run/owned"),
            ("run.oci.handler", "krun"),
            ("run.oci.seccomp.receiver", "/run/owned"),
            ("run.oci.hooks.stderr", "/run/owned"),
            ("run.oci.keep_original_groups", "1"),
            ("org.systemd.property.DevicePolicy", "'auto'"),
            ("io.podman.annotations.privileged", "TRUE"),
            ("io.kubernetes.cri-o.Devices", "/dev/kmsg"),
            ("org.criu.config", "/run/owned"),
            ("cdi.k8s.io/x", "vendor.com/device=all"),
        ];
        let labels: Vec<String> = labels
            .iter()
            .map(|(key, value)| format!("\"{key}\":\"{value}\""))
            .collect();
        let plain = image(&scene, "plain", "{}");
        let labelled = image(
            &scene,
            "labelled",
            &format!(r#"{{"Labels":{{{}}}}}"#, labels.join(",")),
        );
        let run = |image: &str| {
            scene.ok(&format!(
                "run --rm {image} /bin/sh -c \"$(cat /run/command)\""
            ))
        };
        fs::write("/run/command", command).unwrap();
        let (plain, labelled) = (run(&plain), run(&labelled));
        assert!(
            plain.contains("CapEff:") && plain.contains("Seccomp:\t2"),
            "{plain}"
        );
        assert_eq!(plain, labelled);
        assert!(!std::path::Path::new("/run/owned").exists());
        scene.assert_all_gone("runs of images with labels");
    });
}
