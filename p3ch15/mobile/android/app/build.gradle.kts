plugins {
    id("com.android.application")
    id("org.jetbrains.kotlin.android")
}

android {
    namespace = "course.nodules"
    compileSdk = 35
    defaultConfig {
        applicationId = "course.nodules"
        minSdk = 26
        targetSdk = 35
        versionCode = 1
        versionName = "1.0"
        ndk { abiFilters += listOf("arm64-v8a", "x86_64") }
    }
    // The files are read as they are; compressing them in the APK would only cost time.
    androidResources { noCompress += listOf("pte", "f32") }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
    kotlinOptions { jvmTarget = "17" }
}

dependencies {
    // The same version as the Python package that wrote the .pte. It carries the runtime with XNNPACK.
    implementation("org.pytorch:executorch-android:1.5.1")
}
